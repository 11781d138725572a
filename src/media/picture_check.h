#pragma once
// Clips that nobody can want, told by their pixels: black ones, and static.
//
// Static is noise from pixel to pixel: in every frame the luma is uncorrelated (Pearson's r) with that of the
// pixels one and two away across and down and one away on the diagonal, and with the same pixel's of the next
// frame. By chance r has a standard deviation of 1 / sqrt(pixels); the limit for the root mean square of
// these five or six is 2.5 times that: 0.039 at 64 x 64, 0.004 at 480 x 832.
//
// What the largest of them in any frame of a clip was (2026-11-22, clips of 1 to 17 frames):
//   white noise, even or normal, 17 frames            at most 0.045 at 64 x 64, 0.009 at 240 x 416
//   342 clips of 114 random models at 64 x 64         from 0.13 (one model; root mean square 0.09), the next
//   0.21 105 clips of 35 random models at 32 x 32          from 0.16 where the limit would be 0.078: not
//   judged 16 clips of the demo                              from 0.86 the demo's VAE on latents of N(0, 1)
//   from 0.97
// So what is never denoised but decoded is not static here: a decoder makes blotches of it.

#include <cstdint>
#include <string>

#include "media/frames.h"

namespace rushes {

/// Pearson's r of the luma (BT.709 weights of the 8-bit values) of frame `a` and that of frame `b` moved up
/// by `rows` and left by `columns`, where both have pixels; means and variances are those of whole frames. 0
/// where a frame has no variance.
double luma_correlation(const Frames& frames, int64_t a, int64_t b, int64_t rows, int64_t columns);

/// "the clip is black: every pixel of all 17 frames is at most 2 of 255", or "" where it is not black, or has
/// no frames. Looks no further than the first pixel above 4.
std::string black_problem(const Frames& frames);

/// "the clip is static noise: ...", or "" where it is not, or cannot be judged: a side below 64,
/// or too even a frame. Looks no further than the first frame that is none.
std::string noise_problem(const Frames& frames);

}  // namespace rushes
