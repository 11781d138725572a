#include "weights/hub/download.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "base/timer.h"
#include "weights/hub/partial_file.h"
#include "weights/words.h"

namespace rushes::hub {
namespace {

constexpr size_t kAtOnce = 8;  // as huggingface_hub

/// The server's bytes are not those of the file.
class WrongBytes : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The first byte of "bytes 100-199/200", or nothing.
std::optional<uint64_t> range_start(const std::string& header) {
  if (!header.starts_with("bytes ")) return {};
  uint64_t start = 0;
  const char* from = header.data() + 6;
  const auto [end, error] = std::from_chars(from, header.data() + header.size(), start);
  if (error != std::errc() || end == header.data() + header.size() || *end != '-') return {};
  return start;
}

/// One worker: files one after the other over one connection.
class Worker {
 public:
  Worker(const DownloadContext& context, Cancel cancel)
      : context_(context),
        cancel_(cancel),
        api_(context.settings, context.model, cancel, context.heartbeat),
        http_(context.settings, cancel) {}

  void fetch(const Wanted& wanted);

 private:
  void collect(const Wanted& wanted, PartialFile& partial);
  void request(const Wanted& wanted, PartialFile& partial, Reply& reply);
  std::string name(const Wanted& wanted) const {
    return quote_name(wanted.path) + " of " + context_.model.name;
  }

  const DownloadContext& context_;
  const Cancel cancel_;
  Api api_;
  HttpClient http_;
};

void Worker::fetch(const Wanted& wanted) {
  const Cache& cache = context_.cache;
  const FileLock lock = cache.lock(wanted.file.etag(), cancel_);
  if (cache.has_blob(wanted.file)) {  // another process, another revision, or a file of the same content
    cache.link(context_.commit, wanted.path, wanted.file);
    context_.progress.resumed(wanted.file.size);
    context_.progress.file_done();
    return;
  }
  Timer since_beat;
  const auto meanwhile = [&] {
    cancel_.check();
    if (since_beat.seconds() < 1) return;
    since_beat = Timer();
    if (context_.heartbeat) context_.heartbeat();  // who waits for this must not give it up
  };
  PartialFile partial(cache.incomplete(wanted.file.etag(), lock.held()), wanted.file, meanwhile);
  context_.progress.resumed(partial.have());
  try {
    bool right = false;
    for (int tries = 0; !right && tries < 2; ++tries) {
      collect(wanted, partial);
      right = partial.is_right();
      if (right) break;
      log_warning(name(wanted), ": what came is not what the Hub's list says, by its hash; ",
                  tries == 0 ? "fetching it again from the start" : "giving up");
      context_.progress.lost(partial.have());
      partial.restart();
    }
    if (!right) {
      partial.remove();
      fail("cannot fetch ", name(wanted), ": the bytes do not hash to ", wanted.file.etag(),
           ", as the Hub says they must: does a proxy change them?");
    }
  } catch (...) {
    if (!lock.held()) partial.remove();  // nobody would continue a file of that name
    throw;
  }
  partial.become(cache.blob(wanted.file.etag()));
  cache.link(context_.commit, wanted.path, wanted.file);
  context_.progress.file_done();
  log_debug("fetched ", name(wanted));
}

/// One request; bytes go into `partial` as they come.
void Worker::request(const Wanted& wanted, PartialFile& partial, Reply& reply) {
  const uint64_t from = partial.have();
  bool first = true;
  const auto take = [&](const Reply& answer, std::string_view bytes) {
    if (first && from > 0) {
      // A server may not know ranges, or answer another one than was asked for.
      if (answer.status == 200) {
        context_.progress.lost(partial.have());
        partial.restart();
      } else if (range_start(answer.header("content-range")) != from) {
        throw WrongBytes("another range came than was asked for");
      }
    }
    first = false;
    if (partial.have() + bytes.size() > wanted.file.size)
      throw WrongBytes(str("more came than the ", wanted.file.size, " bytes of the Hub's list"));
    partial.add(bytes);
    context_.progress.received(bytes.size());
  };
  reply = http_.get(api_.file_url(context_.commit, wanted.path), from, take);
  if (reply.status == 416) throw WrongBytes("the server has no such range");
}

/// Asks until all bytes are there, as long as that makes headway or may soon.
void Worker::collect(const Wanted& wanted, PartialFile& partial) {
  Retries retries(cancel_, context_.heartbeat);
  bool restarted = false, link_refused = false;
  uint64_t furthest = partial.have();  // what is fetched a second time is no headway
  while (!partial.whole()) {
    std::string why;
    double asked = 0;
    try {
      Reply reply;
      request(wanted, partial, reply);
      if (partial.whole()) return;
      if (reply.status == 200 || reply.status == 206) {
        why = str(name(wanted), ": the answer ended after ", partial.have(), " of ", wanted.file.size,
                  " bytes");
      } else {
        // Each request asks the Hub for a new link.
        const bool refused = Api::is_refused_link(reply);
        if (!Api::may_pass(reply) || (refused && link_refused)) throw api_.refusal(reply, name(wanted));
        link_refused = link_refused || refused;
        why = api_.refusal(reply, name(wanted)).what();
        asked = reply.retry_after();
      }
    } catch (const TransferError& error) {
      why = str("cannot fetch ", name(wanted), ": ", error.what());
      if (error.kind() == TransferError::Kind::answer || error.kind() == TransferError::Kind::certificate)
        throw UserError(why);
    } catch (const WrongBytes& error) {
      why = str("cannot fetch ", name(wanted), ": ", error.what());
      context_.progress.lost(partial.have());
      partial.restart();
      if (restarted) fail(why, "; does a proxy change them?");
      restarted = true;
    }
    if (partial.have() > furthest) {
      furthest = partial.have();
      retries.restart();
      link_refused = false;
    }
    if (!retries.wait(asked, why)) throw Unreachable(why);
  }
}

}  // namespace

void download(const DownloadContext& context, std::vector<Wanted> files) {
  std::stable_sort(files.begin(), files.end(),
                   [](const Wanted& a, const Wanted& b) { return a.file.size > b.file.size; });
  std::atomic<size_t> next{0};
  std::atomic<bool> failed{false};
  std::mutex mutex;
  std::exception_ptr other;
  std::vector<std::string> problems;
  bool unreachable = false;
  const auto work = [&] {
    try {
      Worker worker(context, {context.stop, &failed});
      for (size_t i = next++; i < files.size() && !failed; i = next++)
        worker.fetch(files[i]);
    } catch (const StoppedEarly&) {  // by a signal, or since another failed
    } catch (const UserError& error) {
      const std::lock_guard lock(mutex);
      unreachable = unreachable || dynamic_cast<const Unreachable*>(&error) != nullptr;
      problems.insert(problems.end(), error.problems().begin(), error.problems().end());
      failed = true;
    } catch (...) {
      const std::lock_guard lock(mutex);
      other = std::current_exception();
      failed = true;
    }
  };
  std::vector<std::thread> threads;
  threads.reserve(kAtOnce);
  try {
    for (size_t i = 0; i < std::min(kAtOnce, files.size()); ++i)
      threads.emplace_back(work);
  } catch (const std::system_error& error) {  // where threads are few (ulimit -u), fewer must do
    log_debug("Hub: ", threads.size(), " connections: ", error.what());
    if (threads.empty()) work();
  }
  for (std::thread& thread : threads)
    thread.join();
  Cancel{context.stop, nullptr}.check();
  if (other) std::rethrow_exception(other);
  if (problems.empty()) return;
  if (unreachable) throw Unreachable(problems);
  throw UserError(problems);
}

}  // namespace rushes::hub
