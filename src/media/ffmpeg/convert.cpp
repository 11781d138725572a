#include "media/ffmpeg/convert.h"

extern "C" {
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
}

#include <cstring>

#include "base/error.h"

namespace rushes {

PixelConverter::PixelConverter(int width, int height, AVPixelFormat from, AVPixelFormat to, Colours colours,
                               int to_width, int to_height)
    : height_(height), to_width_(to_width), to_height_(to_height), to_(to), context_(sws_alloc_context()) {
  need_memory(context_ != nullptr);
  const bool from_yuv = !(av_pix_fmt_desc_get(from)->flags & AV_PIX_FMT_FLAG_RGB);
  const auto set = [&](const char* key, int64_t value) {
    RUSHES_CHECK(av_opt_set_int(context_.get(), key, value, 0) >= 0, "swscale's option ", key);
  };
  set("srcw", width);
  set("srch", height);
  set("src_format", from);
  set("dstw", to_width);
  set("dsth", to_height);
  set("dst_format", to);
  set("sws_flags", SWS_BICUBIC | SWS_ACCURATE_RND | SWS_BITEXACT | SWS_FULL_CHR_H_INP | SWS_FULL_CHR_H_INT);
  // Chroma of 4:2:0 lies on the left luma column, half-way between two rows (in 1/256 of a luma pixel).
  set(from_yuv ? "src_h_chr_pos" : "dst_h_chr_pos", 0);
  set(from_yuv ? "src_v_chr_pos" : "dst_v_chr_pos", 128);
  const int* matrix = sws_getCoefficients(colours.space);
  const int full = colours.full_range ? 1 : 0;
  sws_setColorspaceDetails(context_.get(), matrix, from_yuv ? full : 1, matrix, from_yuv ? 1 : full,
                           /*brightness=*/0, /*contrast=*/1 << 16, /*saturation=*/1 << 16);
  const int made = sws_init_context(context_.get(), nullptr, nullptr);
  if (made < 0) {
    fail("FFmpeg cannot convert ", width, "x", height, " pictures from ", av_get_pix_fmt_name(from), " to ",
         av_get_pix_fmt_name(to), ": ", av_text(made));
  }
}

PixelConverter PixelConverter::from_rgb(int width, int height, AVPixelFormat to, Colours colours) {
  return {width, height, AV_PIX_FMT_RGB24, to, colours, width, height};
}

PixelConverter PixelConverter::scaled_to_rgb(int width, int height, AVPixelFormat from, Colours colours,
                                             int to_width, int to_height) {
  return {width, height, from, AV_PIX_FMT_RGB24, colours, to_width, to_height};
}

AvPtr<AVFrame> PixelConverter::convert(const AVFrame& source) const {
  AvPtr<AVFrame> target = make_picture(to_width_, to_height_, to_);
  const int rows =
      sws_scale(context_.get(), source.data, source.linesize, 0, height_, target->data, target->linesize);
  RUSHES_CHECK(rows == to_height_, "converted ", rows, " of ", to_height_, " rows");
  return target;
}

AvPtr<AVFrame> make_picture(int width, int height, AVPixelFormat format) {
  AvPtr<AVFrame> frame = make_frame();
  frame->width = width;
  frame->height = height;
  frame->format = format;
  need_memory(av_frame_get_buffer(frame.get(), 0) >= 0);
  return frame;
}

void rgb_into(const uint8_t* rgb, AVFrame& frame) {
  const size_t row = static_cast<size_t>(frame.width) * 3;
  for (int y = 0; y < frame.height; ++y)
    std::memcpy(frame.data[0] + static_cast<ptrdiff_t>(y) * frame.linesize[0], rgb + row * y, row);
}

void rgb_out_of(const AVFrame& frame, uint8_t* rgb) {
  const size_t row = static_cast<size_t>(frame.width) * 3;
  for (int y = 0; y < frame.height; ++y)
    std::memcpy(rgb + row * y, frame.data[0] + static_cast<ptrdiff_t>(y) * frame.linesize[0], row);
}

}  // namespace rushes
