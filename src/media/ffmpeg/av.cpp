#include "media/ffmpeg/av.h"

#include <new>

#include "base/error.h"

namespace rushes {

std::string av_text(int code) {
  char text[AV_ERROR_MAX_STRING_SIZE] = {};
  av_strerror(code, text, sizeof text);
  return text;
}

int av_check(int code, const char* what, const std::string& name) {
  if (code < 0) fail("cannot ", what, " ", name, ": ", av_text(code));
  return code;
}

void need_memory(bool given) {
  if (!given) throw std::bad_alloc();
}

AvPtr<AVFrame> make_frame() {
  AvPtr<AVFrame> frame(av_frame_alloc());
  need_memory(frame != nullptr);
  return frame;
}

AvPtr<AVPacket> make_packet() {
  AvPtr<AVPacket> packet(av_packet_alloc());
  need_memory(packet != nullptr);
  return packet;
}

void quiet_av() {
  static const bool once = [] {
    av_log_set_level(AV_LOG_QUIET);
    return true;
  }();
  (void)once;
}

}  // namespace rushes
