#pragma once
// How alike two clips are: SSIM, MS-SSIM and PSNR, frame by frame, on 8-bit RGB (data range 255).
//
// SSIM     Wang et al. 2004 (doi:10.1109/TIP.2003.819861), exactly scikit-image's structural_similarity(a, b,
//          channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255):
//          Gaussian window 11x11, K1 0.01, K2 0.03, only windows wholly inside the picture, mean over
//          windows, then over R, G and B.
// MS-SSIM  Wang, Simoncelli and Bovik 2003 (doi:10.1109/ACSSC.2003.1292216), exactly pytorch-msssim 1.0's
//          ms_ssim(a, b, data_range=255): the same window, 5 scales with weights 0.0448, 0.2856, 0.3001,
//          0.2363, 0.1333, each scale the 2x2 mean of the one before (an odd side gets a line of zeros in
//          front). That package refuses a smaller side of 160 and less; here such frames have as many scales
//          S as their smaller side exceeds 10 * 2^(S-1), at least one, and the first S weights divided by
//          their sum.
// PSNR     10 log10(255^2 / MSE) over all samples of R, G and B: FFmpeg's psnr filter on gbrp. Infinite where
//          the frames are equal.
//
// Frames with a side below 11 have a window cut to the largest odd number that fits on that axis.

#include <cstdint>
#include <vector>

#include "media/frames.h"

namespace rushes {

/// One frame beside another.
struct FrameMetrics {
  double ssim = 0;     // -1 to 1
  double ms_ssim = 0;  // 0 to 1
  double mse = 0;      // of values 0 to 255
  double psnr() const;
};

/// A clip beside another of the same size.
struct ClipMetrics {
  std::vector<FrameMetrics> frames;

  double mean_ssim() const;
  double mean_ms_ssim() const;
  double mean_psnr() const;  // of the mean MSE, as FFmpeg's "average"
  double worst_ssim() const;
  double worst_ms_ssim() const;
  double worst_psnr() const;
  int64_t worst_frame() const;  // the first with the lowest SSIM
};

/// Scales of MS-SSIM for frames of this size, 1 to 5.
int64_t ms_ssim_scales(int64_t height, int64_t width);

/// Frame `a_index` of `a` beside frame `b_index` of `b`; the sizes must be equal.
FrameMetrics compare_frame(const Frames& a, int64_t a_index, const Frames& b, int64_t b_index);

/// Every frame of `a` beside that of `b` with the same number, as far as both go; the sizes must be equal and
/// neither be empty. One thread; 81 frames of 480 x 832 take about three seconds.
ClipMetrics compare_frames(const Frames& a, const Frames& b);

}  // namespace rushes
