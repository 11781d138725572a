#pragma once
// Owners for FFmpeg's structures, and its error codes as UserErrors.

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/frame.h>
#include <libswscale/swscale.h>
}

#include <memory>
#include <string>

namespace rushes {

struct AvDelete {
  void operator()(AVCodecContext* context) const { avcodec_free_context(&context); }
  void operator()(AVFrame* frame) const { av_frame_free(&frame); }
  void operator()(AVPacket* packet) const { av_packet_free(&packet); }
  void operator()(SwsContext* context) const { sws_freeContext(context); }
};
template <class T>
using AvPtr = std::unique_ptr<T, AvDelete>;

/// FFmpeg's words for an error code ("No space left on device").
std::string av_text(int code);
/// Throws UserError "cannot <what> <name>: <reason>" for a negative code; gives the code otherwise.
int av_check(int code, const char* what, const std::string& name);
/// FFmpeg gives nothing where memory has run out: throws std::bad_alloc.
void need_memory(bool given);
/// The allocation, or std::bad_alloc.
AvPtr<AVFrame> make_frame();
AvPtr<AVPacket> make_packet();
/// FFmpeg logs to stderr by itself; what matters reaches us as error codes. Once a process.
void quiet_av();

}  // namespace rushes
