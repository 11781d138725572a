#pragma once
// GET over libcurl, made for the Hub: redirects are followed here and not by libcurl, so that the access
// token goes to the Hub's own origin (scheme, host and port of HF_ENDPOINT) and to nobody else. Proxies are
// libcurl's own business: http_proxy, https_proxy, no_proxy and so on; certificates SSL_CERT_FILE,
// SSL_CERT_DIR.

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include "base/stop.h"
#include "weights/hub/settings.h"

namespace rushes::hub {

/// Why there was no whole answer. The text names no query and no secret.
class TransferError : public std::runtime_error {
 public:
  enum class Kind { name, certificate, answer, connection };  // only the last may go away soon
  TransferError(Kind kind, const std::string& text) : std::runtime_error(text), kind_(kind) {}
  Kind kind() const { return kind_; }

 private:
  Kind kind_;
};

struct Reply {
  long status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  bool from_hub = true;                        // and not from where it redirected to
  std::string host;                            // that answered: "name" or "name:port"
  std::string body;                            // of a reply that is no 200 or 206: its first 64 KiB

  std::string header(const std::string& name) const;
  /// "Retry-After" in seconds, or 0: whole numbers only, as huggingface_hub reads it.
  double retry_after() const;
};

/// What a transfer stops for.
struct Cancel {
  const StopToken* stop = nullptr;
  const std::atomic<bool>* failed = nullptr;  // another part of the same work

  bool requested() const { return (stop && stop->requested()) || (failed && failed->load()); }
  /// Throws StoppedEarly.
  void check() const;
  /// Waits; throws StoppedEarly soon after a request.
  void sleep(double seconds) const;
};

/// One connection after the other; for one thread.
class HttpClient {
 public:
  HttpClient(const Settings& settings, Cancel cancel);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  using Sink = std::function<void(const Reply&, std::string_view)>;
  /// GET from byte `from` on (0: no Range header). The bytes of a 200 or 206 go to `sink`, whose exceptions
  /// pass through. Throws TransferError, StoppedEarly.
  Reply get(const std::string& url, uint64_t from, const Sink& sink);
  /// The same with the body as text; TransferError where it is longer than `most` bytes.
  Reply get_text(const std::string& url, uint64_t most);

  /// Is `url` at the Hub itself, where the token may go?
  bool is_hub(const std::string& url) const;

 private:
  struct Handle;
  void set_up(const std::string& url, uint64_t from);

  const Settings& settings_;
  const Cancel cancel_;
  std::string origin_;
  std::unique_ptr<Handle> handle_;
};

/// `text` with everything but letters, digits and "-._~" as %XX; with `keep_slashes` '/' stays.
std::string url_escaped(const std::string& text, bool keep_slashes);

}  // namespace rushes::hub
