#include "media/ffmpeg/image.h"

extern "C" {
#include <libavutil/opt.h>
}

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "media/ffmpeg/av.h"
#include "media/ffmpeg/convert.h"

namespace rushes {
namespace {

constexpr int64_t kMaxPixels = int64_t{1} << 28;

AvPtr<AVCodecContext> make_context(const AVCodec* codec) {
  RUSHES_CHECK(codec != nullptr, "this FFmpeg lacks PNG or JPEG");
  AvPtr<AVCodecContext> context(avcodec_alloc_context3(codec));
  need_memory(context != nullptr);
  context->thread_count = 1;
  return context;
}

}  // namespace

std::string encode_png(const Frames& frames, int64_t index) {
  quiet_av();
  RUSHES_CHECK(index >= 0 && index < frames.count, "frame ", index, " of ", frames.count);
  const int width = static_cast<int>(frames.width), height = static_cast<int>(frames.height);
  const AVCodec* codec = avcodec_find_encoder(AV_CODEC_ID_PNG);
  const AvPtr<AVCodecContext> encoder = make_context(codec);
  encoder->width = width;
  encoder->height = height;
  encoder->pix_fmt = AV_PIX_FMT_RGB24;
  encoder->time_base = {1, 1};
  encoder->flags |= AV_CODEC_FLAG_BITEXACT;
  RUSHES_CHECK(av_opt_set(encoder->priv_data, "pred", "mixed", 0) >= 0, "no such prediction");
  const std::string name = str("a ", width, "x", height, " PNG");
  av_check(avcodec_open2(encoder.get(), codec, nullptr), "encode", name);
  const AvPtr<AVFrame> picture = make_picture(width, height, AV_PIX_FMT_RGB24);
  rgb_into(frames.frame(index), *picture);
  const AvPtr<AVPacket> packet = make_packet();
  av_check(avcodec_send_frame(encoder.get(), picture.get()), "encode", name);
  av_check(avcodec_receive_packet(encoder.get(), packet.get()), "encode", name);
  return {reinterpret_cast<const char*>(packet->data), static_cast<size_t>(packet->size)};
}

std::string encode_jpeg(const Frames& frames, int64_t index) {
  quiet_av();
  RUSHES_CHECK(index >= 0 && index < frames.count, "frame ", index, " of ", frames.count);
  const int width = static_cast<int>(frames.width), height = static_cast<int>(frames.height);
  const AVCodec* codec = avcodec_find_encoder(AV_CODEC_ID_MJPEG);
  const AvPtr<AVCodecContext> encoder = make_context(codec);
  encoder->width = width;
  encoder->height = height;
  encoder->pix_fmt = AV_PIX_FMT_YUVJ444P;
  encoder->time_base = {1, 1};
  encoder->flags |= AV_CODEC_FLAG_BITEXACT | AV_CODEC_FLAG_QSCALE;
  encoder->global_quality = 3 * FF_QP2LAMBDA;  // 1 (best) to 31
  const std::string name = str("a ", width, "x", height, " JPEG");
  av_check(avcodec_open2(encoder.get(), codec, nullptr), "encode", name);
  const AvPtr<AVFrame> rgb = make_picture(width, height, AV_PIX_FMT_RGB24);
  rgb_into(frames.frame(index), *rgb);
  const auto converter = PixelConverter::from_rgb(width, height, AV_PIX_FMT_YUVJ444P,
                                                  {.space = SWS_CS_ITU601, .full_range = true});
  const AvPtr<AVFrame> picture = converter.convert(*rgb);
  picture->quality = encoder->global_quality;
  const AvPtr<AVPacket> packet = make_packet();
  av_check(avcodec_send_frame(encoder.get(), picture.get()), "encode", name);
  av_check(avcodec_receive_packet(encoder.get(), packet.get()), "encode", name);
  return {reinterpret_cast<const char*>(packet->data), static_cast<size_t>(packet->size)};
}

Frames decode_png(const std::string& bytes, const std::string& name) {
  quiet_av();
  const AVCodec* codec = avcodec_find_decoder(AV_CODEC_ID_PNG);
  const AvPtr<AVCodecContext> decoder = make_context(codec);
  decoder->max_pixels = kMaxPixels;
  decoder->err_recognition = AV_EF_CRCCHECK | AV_EF_EXPLODE;
  av_check(avcodec_open2(decoder.get(), codec, nullptr), "read", name);
  const AvPtr<AVPacket> packet = make_packet();
  if (bytes.empty() || bytes.size() > INT32_MAX / 2)
    fail("cannot read ", name, ": ", bytes.size(), " bytes are no PNG");
  need_memory(av_new_packet(packet.get(), static_cast<int>(bytes.size())) >= 0);
  std::memcpy(packet->data, bytes.data(), bytes.size());
  const AvPtr<AVFrame> picture = make_frame();
  av_check(avcodec_send_packet(decoder.get(), packet.get()), "read", name);
  av_check(avcodec_receive_frame(decoder.get(), picture.get()), "read", name);
  Frames frames{.count = 1, .height = picture->height, .width = picture->width, .rgb = {}};
  frames.rgb.resize(static_cast<size_t>(frames.height * frames.width * 3));
  if (picture->format == AV_PIX_FMT_RGB24) {
    rgb_out_of(*picture, frames.rgb.data());
  } else {
    const auto converter = PixelConverter::to_rgb(
        picture->width, picture->height, static_cast<AVPixelFormat>(picture->format), {.full_range = true});
    rgb_out_of(*converter.convert(*picture), frames.rgb.data());
  }
  return frames;
}

void write_png(const std::filesystem::path& path, const Frames& frames, int64_t index) {
  const std::string bytes = encode_png(frames, index);
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) fail("cannot write ", path.string(), ": ", std::strerror(errno));
  const bool written = std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  int reason = written ? 0 : errno;
  if (std::fclose(file) != 0 && reason == 0) reason = errno;
  if (reason == 0) return;
  std::error_code ignored;
  if (std::filesystem::is_regular_file(path, ignored)) std::filesystem::remove(path, ignored);
  fail("cannot write ", path.string(), ": ", std::strerror(reason));
}

Frames read_png(const std::filesystem::path& path) {
  return decode_png(read_file(path, uint64_t{1} << 30), path.string());
}

}  // namespace rushes
