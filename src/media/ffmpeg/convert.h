#pragma once
// RGB <-> YUV by swscale, always the same bits: accurate rounding, no processor-dependent short cuts.

#include <cstdint>

#include "media/ffmpeg/av.h"

namespace rushes {

/// One picture size and pair of pixel formats. YUV is BT.709 or BT.601, limited or full range, chroma sited
/// left.
class PixelConverter {
 public:
  struct Colours {
    int space = SWS_CS_ITU709;
    bool full_range = false;
  };
  /// RGB24 -> `to`.
  static PixelConverter from_rgb(int width, int height, AVPixelFormat to, Colours colours);
  /// `from` -> RGB24.
  static PixelConverter to_rgb(int width, int height, AVPixelFormat from, Colours colours) {
    return scaled_to_rgb(width, height, from, colours, width, height);
  }
  /// The same in another size, by bicubic filters that average where it shrinks.
  static PixelConverter scaled_to_rgb(int width, int height, AVPixelFormat from, Colours colours,
                                      int to_width, int to_height);

  /// A frame of the target's format and size, with room of its own.
  AvPtr<AVFrame> convert(const AVFrame& source) const;

 private:
  PixelConverter(int width, int height, AVPixelFormat from, AVPixelFormat to, Colours colours, int to_width,
                 int to_height);

  int height_;  // of the source
  int to_width_;
  int to_height_;
  AVPixelFormat to_;
  AvPtr<SwsContext> context_;
};

/// An empty frame of this format and size, its rows padded as FFmpeg's code wants them.
AvPtr<AVFrame> make_picture(int width, int height, AVPixelFormat format);
/// height x width x 3 bytes into a frame, and out of one (which must be RGB24).
void rgb_into(const uint8_t* rgb, AVFrame& frame);
void rgb_out_of(const AVFrame& frame, uint8_t* rgb);

}  // namespace rushes
