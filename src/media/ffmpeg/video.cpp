#include "media/ffmpeg/video.h"

extern "C" {
#include <libavutil/display.h>
#include <libavutil/opt.h>
}

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "media/ffmpeg/av.h"
#include "media/ffmpeg/convert.h"

namespace rushes {
namespace {

/// FFmpeg reads "a:b" as protocol a; said like this a path is always a file.
std::string file_url(const std::filesystem::path& path) {
  return "file:" + path.string();
}

/// A file being written: encoder, container, stream.
class VideoWriter {
 public:
  VideoWriter(const std::filesystem::path& path, const Frames& frames, int64_t fps, const VideoFormat& format,
              const VideoTags& tags)
      : name_(path.string()),
        width_(static_cast<int>(frames.width)),
        height_(static_cast<int>(frames.height)),
        converter_(PixelConverter::from_rgb(width_, height_, AV_PIX_FMT_YUV420P, {})) {
    try {
      open_encoder(static_cast<int>(fps), format);
      open_file(file_url(path), format, tags);
    } catch (...) {
      close();  // a constructor that throws runs no destructor
      throw;
    }
  }
  ~VideoWriter() { close(); }
  VideoWriter(const VideoWriter&) = delete;
  VideoWriter& operator=(const VideoWriter&) = delete;

  void write(const uint8_t* rgb, int64_t index) {
    AvPtr<AVFrame> picture = make_picture(width_, height_, AV_PIX_FMT_RGB24);
    rgb_into(rgb, *picture);
    AvPtr<AVFrame> converted = converter_.convert(*picture);
    converted->pts = index;
    converted->colorspace = encoder_->colorspace;
    converted->color_range = encoder_->color_range;
    av_check(avcodec_send_frame(encoder_.get(), converted.get()), "encode", name_);
    drain();
  }

  void finish() {
    av_check(avcodec_send_frame(encoder_.get(), nullptr), "encode", name_);
    drain();
    av_check(av_write_trailer(file_), "write", name_);
    // Writes are buffered: what the disk said may show only here.
    const int written = file_->pb->error;
    const int closed = avio_closep(&file_->pb);
    av_check(written < 0 ? written : closed, "write", name_);
  }

 private:
  void open_encoder(int fps, const VideoFormat& format) {
    const AVCodec* codec = avcodec_find_encoder_by_name("libx264");
    if (codec == nullptr) fail("this FFmpeg has no libx264 to write H.264 with; install one that has");
    encoder_.reset(avcodec_alloc_context3(codec));
    need_memory(encoder_ != nullptr);
    AVCodecContext& c = *encoder_;
    c.width = width_;
    c.height = height_;
    c.pix_fmt = AV_PIX_FMT_YUV420P;
    c.time_base = {1, fps};
    c.framerate = {fps, 1};
    c.colorspace = AVCOL_SPC_BT709;
    c.color_primaries = AVCOL_PRI_BT709;
    c.color_trc = AVCOL_TRC_BT709;
    c.color_range = AVCOL_RANGE_MPEG;
    c.chroma_sample_location = AVCHROMA_LOC_LEFT;
    // x264 splits the work otherwise by the cores it may use, and then the same clip gives other bytes.
    c.thread_count = 1;
    c.flags |= AV_CODEC_FLAG_BITEXACT | AV_CODEC_FLAG_GLOBAL_HEADER;
    const bool set = av_opt_set(c.priv_data, "preset", "medium", 0) >= 0 &&
                     av_opt_set(c.priv_data, "x264-params", "cpu-independent=1", 0) >= 0 &&
                     av_opt_set_double(c.priv_data, "crf", static_cast<double>(format.crf), 0) >= 0;
    RUSHES_CHECK(set, "libx264 refuses an option");
    av_check(avcodec_open2(&c, codec, nullptr), "encode", str(name_, " (", width_, "x", height_, ")"));
  }

  void open_file(const std::string& url, const VideoFormat& format, const VideoTags& tags) {
    av_check(avformat_alloc_output_context2(&file_, nullptr, format.container.c_str(), url.c_str()), "write",
             name_);
    file_->flags |= AVFMT_FLAG_BITEXACT;
    for (const auto& [key, text] : {std::pair("title", &tags.title), std::pair("comment", &tags.comment)}) {
      RUSHES_CHECK(is_utf8(*text), "the tag ", key, " is not UTF-8");
      if (!text->empty()) av_check(av_dict_set(&file_->metadata, key, text->c_str(), 0), "write", name_);
    }
    stream_ = avformat_new_stream(file_, nullptr);
    need_memory(stream_ != nullptr);
    stream_->time_base = encoder_->time_base;
    stream_->avg_frame_rate = encoder_->framerate;
    av_check(avcodec_parameters_from_context(stream_->codecpar, encoder_.get()), "write", name_);
    av_check(avio_open(&file_->pb, url.c_str(), AVIO_FLAG_WRITE), "write", name_);
    AVDictionary* options = nullptr;
    av_dict_set(&options, "movflags", "+faststart", 0);  // the index comes first: plays while it loads
    const int written = avformat_write_header(file_, &options);
    av_dict_free(&options);
    av_check(written, "write", name_);
  }

  /// Moves finished packets from the encoder to the file.
  void drain() {
    while (true) {
      const int got = avcodec_receive_packet(encoder_.get(), packet_.get());
      if (got == AVERROR(EAGAIN) || got == AVERROR_EOF) return;
      av_check(got, "encode", name_);
      packet_->duration = 1;
      packet_->stream_index = stream_->index;
      av_packet_rescale_ts(packet_.get(), encoder_->time_base, stream_->time_base);
      av_check(av_interleaved_write_frame(file_, packet_.get()), "write", name_);
      av_check(file_->pb->error, "write", name_);
    }
  }

  void close() {
    if (file_ == nullptr) return;
    if (file_->pb != nullptr) avio_closep(&file_->pb);
    avformat_free_context(file_);
    file_ = nullptr;
  }

  std::string name_;
  int width_;
  int height_;
  PixelConverter converter_;
  AvPtr<AVCodecContext> encoder_;
  AvPtr<AVPacket> packet_ = make_packet();
  AVFormatContext* file_ = nullptr;
  AVStream* stream_ = nullptr;  // belongs to file_
};

/// A file being read.
class VideoReader {
 public:
  explicit VideoReader(const std::filesystem::path& path) : name_(path.string()) {
    AVDictionary* options = nullptr;
    // Playlists and the like would read other files, or fetch them.
    av_dict_set(&options, "protocol_whitelist", "file", 0);
    av_dict_set(&options, "format_whitelist",
                "mov,matroska,avi,mpegts,mpeg,mpegvideo,h264,hevc,ivf,flv,ogg,asf,gif,apng", 0);
    const int opened = avformat_open_input(&file_, file_url(path).c_str(), nullptr, &options);
    av_dict_free(&options);
    av_check(opened, "read", name_);
  }
  ~VideoReader() { avformat_close_input(&file_); }
  VideoReader(const VideoReader&) = delete;
  VideoReader& operator=(const VideoReader&) = delete;

  const std::string& name() const { return name_; }
  double fps() const { return av_q2d(rate_); }
  AVRational rate() const { return rate_; }
  /// Quarter turns clockwise that a player makes before it shows a frame; known once frames come.
  int turns() const { return turns_; }
  /// How wide a pixel is beside its height: the container's word counts more than the stream's own.
  double pixel_width(const AVFrame& frame) const {
    const AVRational of_file = file_->streams[stream_]->sample_aspect_ratio, own = frame.sample_aspect_ratio;
    for (const AVRational& ratio : {of_file, own}) {
      if (ratio.num > 0 && ratio.den > 0) return av_q2d(ratio);
    }
    return 1;
  }

  /// Calls take(frame, seconds) with every frame and when it is shown, until it gives false.
  template <class Take>
  void each(Take take) {
    open_decoder();
    AvPtr<AVPacket> packet = make_packet();
    while (true) {
      const int got = av_read_frame(file_, packet.get());
      if (got == AVERROR_EOF) break;
      av_check(got, "read", name_);
      if (packet->stream_index == stream_) {
        av_check(avcodec_send_packet(decoder_.get(), packet.get()), "decode", name_);
        if (!drain(take)) return;
      }
      av_packet_unref(packet.get());
    }
    av_check(avcodec_send_packet(decoder_.get(), nullptr), "decode", name_);
    if (!drain(take)) return;
    if (seen_ == 0) fail("cannot read ", name_, ": no frames in it");
  }

 private:
  void open_decoder() {
    av_check(avformat_find_stream_info(file_, nullptr), "read", name_);
    const AVCodec* codec = nullptr;
    stream_ =
        av_check(av_find_best_stream(file_, AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0), "find a video in", name_);
    const AVStream& stream = *file_->streams[stream_];
    decoder_.reset(avcodec_alloc_context3(codec));
    need_memory(decoder_ != nullptr);
    av_check(avcodec_parameters_to_context(decoder_.get(), stream.codecpar), "read", name_);
    decoder_->thread_count = 1;
    av_check(avcodec_open2(decoder_.get(), codec, nullptr), "read", name_);
    rate_ = stream.avg_frame_rate.num > 0 ? stream.avg_frame_rate : stream.r_frame_rate;
    tick_ = stream.time_base;
    const uint8_t* const matrix = av_stream_get_side_data(&stream, AV_PKT_DATA_DISPLAYMATRIX, nullptr);
    if (matrix == nullptr) return;
    int32_t m[9];
    std::memcpy(m, matrix, sizeof m);
    // FFmpeg counts degrees anticlockwise; anything but quarter turns, mirrors too, is shown as it is.
    const double degrees = -av_display_rotation_get(m);
    const bool mirrored = static_cast<double>(m[0]) * m[4] - static_cast<double>(m[1]) * m[3] < 0;
    if (!mirrored && std::isfinite(degrees) && std::abs(std::remainder(degrees, 90)) < 1)
      turns_ = static_cast<int>(std::lround(degrees / 90) & 3);
  }

  template <class Take>
  bool drain(Take take) {
    AvPtr<AVFrame> frame = make_frame();
    while (true) {
      const int got = avcodec_receive_frame(decoder_.get(), frame.get());
      if (got == AVERROR(EAGAIN) || got == AVERROR_EOF) return true;
      av_check(got, "decode", name_);
      if (!take(*frame, time_of(*frame))) return false;
      ++seen_;
    }
  }

  /// Since the first frame; a file without times goes by its rate.
  double time_of(const AVFrame& frame) {
    const int64_t ticks = frame.best_effort_timestamp;
    if (ticks == AV_NOPTS_VALUE) return fps() > 0 ? static_cast<double>(seen_) / fps() : 0;
    if (seen_ == 0) first_ = ticks;
    return static_cast<double>(ticks - first_) * av_q2d(tick_);
  }

  std::string name_;
  AVFormatContext* file_ = nullptr;
  int stream_ = 0;
  AvPtr<AVCodecContext> decoder_;
  AVRational rate_{}, tick_{};
  int64_t seen_ = 0, first_ = 0;
  int turns_ = 0;
};

PixelConverter::Colours colours_of(const AVFrame& frame) {
  // Untagged files follow the custom: BT.709 from 720 rows up, BT.601 below.
  const bool untagged = frame.colorspace == AVCOL_SPC_UNSPECIFIED;
  const bool bt709 = frame.colorspace == AVCOL_SPC_BT709 || (untagged && frame.height >= 720);
  return {.space = bt709 ? SWS_CS_ITU709 : SWS_CS_ITU601,
          .full_range = frame.color_range == AVCOL_RANGE_JPEG};
}

/// Frames of a video as they come, in its own size.
class FrameList {
 public:
  FrameList(const std::string& name, uint64_t max_bytes) : name_(name), max_bytes_(max_bytes) {}
  Frames take() { return std::move(frames_); }

  void add(const AVFrame& frame) {
    if (frames_.count == 0) start(frame);
    if (frame.width != frames_.width || frame.height != frames_.height || frame.format != format_)
      fail("cannot read ", name_, ": its frames change size or format at frame ", frames_.count);
    const size_t bytes = static_cast<size_t>(frame.width) * static_cast<size_t>(frame.height) * 3;
    if (frames_.rgb.size() + bytes > max_bytes_)
      fail("cannot read ", name_, ": its frames need more than ", max_bytes_, " bytes of memory");
    frames_.rgb.resize(frames_.rgb.size() + bytes);
    rgb_out_of(*converter_->convert(frame), frames_.rgb.data() + frames_.rgb.size() - bytes);
    ++frames_.count;
  }

 private:
  void start(const AVFrame& frame) {
    frames_.width = frame.width;
    frames_.height = frame.height;
    format_ = frame.format;
    converter_ = std::make_unique<PixelConverter>(PixelConverter::to_rgb(
        frame.width, frame.height, static_cast<AVPixelFormat>(frame.format), colours_of(frame)));
  }

  std::string name_;
  uint64_t max_bytes_;
  std::unique_ptr<PixelConverter> converter_;
  int format_ = -1;
  Frames frames_;
};

/// Sides beyond which no frame is scaled: of a video so narrow hardly anything would be seen.
constexpr double kMostSide = 16384;

/// Frames of a video at times of its own, turned upright, scaled and cut.
class ClipFrames {
 public:
  ClipFrames(const VideoReader& reader, const ClipShape& shape) : reader_(reader), shape_(shape) {
    frames_.height = shape.height;
    frames_.width = shape.width;
  }
  bool full() const { return frames_.count == shape_.count; }
  Frames take() { return std::move(frames_); }
  int64_t count() const { return frames_.count; }

  /// `shown`: until `end` seconds.
  void show_until(const AVFrame& shown, double end) {
    // Half a thousandth of a second: times are rounded to ticks.
    while (!full() && static_cast<double>(frames_.count) / static_cast<double>(shape_.fps) < end - 5e-4)
      add(shown);
  }

 private:
  void add(const AVFrame& frame) {
    if (frame.width != width_ || frame.height != height_ || frame.format != format_) start(frame);
    const AvPtr<AVFrame> scaled = converter_->convert(frame);
    const uint8_t* const first = scaled->data[0] + (scaled->height - cut_height_) / 2 * scaled->linesize[0] +
                                 (scaled->width - cut_width_) / 2 * 3;
    const size_t before = frames_.rgb.size();
    frames_.rgb.resize(before + static_cast<size_t>(shape_.height * shape_.width * 3));
    uint8_t* to = frames_.rgb.data() + before;
    const int64_t right = cut_width_ - 1, bottom = cut_height_ - 1;
    for (int64_t y = 0; y < shape_.height; ++y) {
      for (int64_t x = 0; x < shape_.width; ++x, to += 3) {
        // Where a pixel of the upright picture lies in the picture as it is stored.
        const auto [row, column] = turns_ == 0   ? std::pair(y, x)
                                   : turns_ == 1 ? std::pair(bottom - x, y)
                                   : turns_ == 2 ? std::pair(bottom - y, right - x)
                                                 : std::pair(x, right - y);
        std::memcpy(to, first + row * scaled->linesize[0] + column * 3, 3);
      }
    }
    ++frames_.count;
  }

  void start(const AVFrame& frame) {
    width_ = frame.width;
    height_ = frame.height;
    format_ = frame.format;
    turns_ = reader_.turns();
    const bool lies = turns_ % 2 == 1;
    cut_width_ = lies ? shape_.height : shape_.width;
    cut_height_ = lies ? shape_.width : shape_.height;
    const double wide = reader_.pixel_width(frame);
    const double scale = std::max(static_cast<double>(cut_width_) / (width_ * wide),
                                  static_cast<double>(cut_height_) / height_);
    const double to_width = width_ * wide * scale, to_height = height_ * scale;
    if (!(to_width <= kMostSide) || !(to_height <= kMostSide))
      fail(reader_.name(), ": its frames are ", width_, "x", height_,
           wide != 1 ? str(" (pixels ", wide, " wide)") : "", "; that is too narrow for ", shape_.height, "x",
           shape_.width, " (height x width)");
    const auto side = [](double extent, int64_t least) {
      return static_cast<int>(std::max<int64_t>(least, std::llround(extent)));
    };
    converter_ = std::make_unique<PixelConverter>(
        PixelConverter::scaled_to_rgb(width_, height_, static_cast<AVPixelFormat>(format_), colours_of(frame),
                                      side(to_width, cut_width_), side(to_height, cut_height_)));
  }

  const VideoReader& reader_;
  ClipShape shape_;
  std::unique_ptr<PixelConverter> converter_;
  int width_ = 0, height_ = 0, format_ = -1, turns_ = 0;
  int64_t cut_width_ = 0, cut_height_ = 0;  // of the scaled picture, before it is turned
  Frames frames_;
};

}  // namespace

void write_video(const std::filesystem::path& path, const Frames& frames, int64_t fps,
                 const VideoFormat& format, const VideoTags& tags) {
  quiet_av();
  RUSHES_CHECK(frames.rgb.size() == static_cast<size_t>(frames.count * frames.height * frames.width * 3),
               frames.rgb.size(), " bytes for ", frames.count, "x", frames.height, "x", frames.width);
  if (format.codec != "h264" || format.container != "mp4")
    fail("cannot write ", path.string(), ": no ", format.codec, " in ", format.container, "; h264 in mp4 is");
  if (frames.count < 1 || frames.height < 2 || frames.width < 2 || frames.height % 2 != 0 ||
      frames.width % 2 != 0) {
    fail("cannot write ", path.string(), ": ", frames.count, " frames of ", frames.width, "x", frames.height,
         "; H.264 needs a frame and even sides");
  }
  if (fps < 1 || fps > 1000)
    fail("cannot write ", path.string(), ": ", fps, " frames a second; 1 to 1000 are");
  try {
    VideoWriter writer(path, frames, fps, format, tags);
    for (int64_t index = 0; index < frames.count; ++index)
      writer.write(frames.frame(index), index);
    writer.finish();
  } catch (...) {
    std::error_code ignored;
    // Never a device that somebody wrote to.
    if (std::filesystem::is_regular_file(path, ignored)) std::filesystem::remove(path, ignored);
    throw;
  }
}

Video read_video(const std::filesystem::path& path, uint64_t max_bytes) {
  quiet_av();
  VideoReader reader(path);
  FrameList frames(reader.name(), max_bytes);
  reader.each([&](const AVFrame& frame, double) {
    frames.add(frame);
    return true;
  });
  return {frames.take(), reader.rate().num, reader.rate().den};
}

Frames read_frame(const std::filesystem::path& path, int64_t index) {
  quiet_av();
  VideoReader reader(path);
  AvPtr<AVFrame> last;
  int64_t seen = 0;
  reader.each([&](const AVFrame& frame, double) {
    last.reset(av_frame_clone(&frame));
    RUSHES_CHECK(last != nullptr, "no memory for a frame");
    return ++seen <= index;
  });
  FrameList frames(reader.name(), uint64_t{1} << 30);
  frames.add(*last);
  return frames.take();
}

Frames read_clip(const std::filesystem::path& path, const ClipShape& shape) {
  quiet_av();
  RUSHES_CHECK(shape.count > 0 && shape.height > 0 && shape.width > 0 && shape.fps > 0, shape.count,
               " frames");
  VideoReader reader(path);
  ClipFrames clip(reader, shape);
  AvPtr<AVFrame> shown;
  double last = 0;
  reader.each([&](const AVFrame& frame, double seconds) {
    if (shown) clip.show_until(*shown, seconds);
    shown.reset(av_frame_clone(&frame));
    need_memory(shown != nullptr);
    last = seconds;
    return !clip.full();
  });
  const double rest = reader.fps() > 0 ? 1 / reader.fps() : 0;
  if (shown) clip.show_until(*shown, last + rest);
  if (!clip.full()) {
    fail(path.string(), " is too short: it gives ", clip.count(), " frames at ", shape.fps,
         " a second, this clip has ", shape.count);
  }
  return clip.take();
}

}  // namespace rushes
