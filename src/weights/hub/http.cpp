#include "weights/hub/http.h"

#include <curl/curl.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "base/lower.h"
#include "base/version.h"

namespace rushes::hub {
namespace {

constexpr int kMostRedirects = 10;
constexpr long kConnectSeconds = 15;
constexpr size_t kMostErrorBody = size_t{64} << 10;
constexpr size_t kMostHeaderBytes = size_t{256} << 10;  // of one reply

struct UrlFree {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using Url = std::unique_ptr<CURLU, UrlFree>;

Url parse_url(const std::string& text) {
  Url url(curl_url());
  if (!url || curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK)
    throw TransferError(TransferError::Kind::answer, "a server named an address that is none");
  return url;
}

std::string url_part(const Url& url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url.get(), part, &text, CURLU_DEFAULT_PORT) != CURLUE_OK) return {};
  std::string value = text;
  curl_free(text);
  return value;
}

/// "https://huggingface.co:443"
std::string origin_of(const Url& url) {
  return lower(url_part(url, CURLUPART_SCHEME)) + "://" + lower(url_part(url, CURLUPART_HOST)) + ":" +
         url_part(url, CURLUPART_PORT);
}

/// "huggingface.co", "127.0.0.1:8080": for messages.
std::string host_of(const std::string& address) {
  const Url url = parse_url(address);
  char* port = nullptr;
  std::string host = url_part(url, CURLUPART_HOST);
  if (curl_url_get(url.get(), CURLUPART_PORT, &port, 0) == CURLUE_OK) host += str(":", port);
  curl_free(port);
  return host;
}

bool is_redirect(long status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/// Where a redirect leads, or TransferError.
std::string redirect_target(const std::string& from, const std::string& location) {
  const Url base = parse_url(from);
  const bool secure = lower(url_part(base, CURLUPART_SCHEME)) == "https";
  if (curl_url_set(base.get(), CURLUPART_URL, location.c_str(), 0) != CURLUE_OK)
    throw TransferError(TransferError::Kind::answer, "a redirect leads to no address");
  const std::string scheme = lower(url_part(base, CURLUPART_SCHEME));
  if (scheme != "https" && (scheme != "http" || secure))
    throw TransferError(TransferError::Kind::answer, "a redirect leads from " +
                                                         std::string(secure ? "https" : "http") + " to " +
                                                         scheme + ", which is not followed");
  return url_part(base, CURLUPART_URL);
}

struct Transfer {
  Reply reply;
  const HttpClient::Sink* sink = nullptr;
  std::exception_ptr error;
  size_t header_bytes = 0;
  Cancel cancel;
};

size_t on_header(char* data, size_t, size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  const std::string line(data, count);
  transfer.header_bytes += count;
  if (transfer.header_bytes > kMostHeaderBytes) return 0;
  if (line.starts_with("HTTP/")) {
    const size_t space = line.find(' ');
    transfer.reply.headers.clear();
    transfer.reply.status = space == std::string::npos ? 0 : std::strtol(line.c_str() + space, nullptr, 10);
    return count;
  }
  const size_t colon = line.find(':');
  if (colon == std::string::npos) return count;
  const size_t first = line.find_first_not_of(" \t", colon + 1);
  const size_t last = line.find_last_not_of(" \t\r\n");
  transfer.reply.headers[lower(line.substr(0, colon))] =
      first == std::string::npos || last < first ? "" : line.substr(first, last + 1 - first);
  return count;
}

size_t on_body(char* data, size_t, size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  const long status = transfer.reply.status;
  if (status != 200 && status != 206) {
    const size_t room = kMostErrorBody - transfer.reply.body.size();
    transfer.reply.body.append(data, std::min(room, count));
    return room > 0 ? count : 0;  // enough is known; an endless body would be read for ever
  }
  try {
    (*transfer.sink)(transfer.reply, {data, count});
    return count;
  } catch (...) {  // libcurl is C: the error waits until it has returned
    transfer.error = std::current_exception();
    return count == 0 ? 1 : 0;
  }
}

int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<Transfer*>(user)->cancel.requested() ? 1 : 0;
}

TransferError transfer_error(CURLcode code, const std::string& url, const char* detail) {
  const Url parsed = parse_url(url);
  const std::string host = url_part(parsed, CURLUPART_HOST);
  const std::string why = *detail != '\0' ? detail : curl_easy_strerror(code);
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
      return {TransferError::Kind::name, str("the name ", host, " is not known here (", why,
                                             "): check the network, HF_ENDPOINT and DNS")};
    case CURLE_COULDNT_RESOLVE_PROXY:
      return {TransferError::Kind::name,
              "the proxy's name is not known here: check http_proxy, https_proxy and all_proxy"};
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
      return {TransferError::Kind::certificate,
              str("no secure connection to ", host, " (", why,
                  "): where a proxy of your site opens it, give its certificate by SSL_CERT_FILE, or install "
                  "ca-certificates; check the clock too")};
    default:
      return {TransferError::Kind::connection, str("the connection to ", host, " failed: ", why)};
  }
}

}  // namespace

std::string Reply::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? std::string() : found->second;
}

double Reply::retry_after() const {
  const std::string text = header("retry-after");
  const bool number =
      !text.empty() && text.size() < 7 && text.find_first_not_of("0123456789") == std::string::npos;
  return number ? std::stod(text) : 0;
}

void Cancel::check() const {
  if (requested()) throw StoppedEarly("stopped while fetching a model; what has come is kept");
}

void Cancel::sleep(double seconds) const {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (std::chrono::steady_clock::now() < end) {
    check();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

struct HttpClient::Handle {
  CURL* curl = nullptr;
  curl_slist* headers = nullptr;
  char error[CURL_ERROR_SIZE] = {};

  ~Handle() {
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
  }
  void add_header(const std::string& line) {
    curl_slist* longer = curl_slist_append(headers, line.c_str());
    RUSHES_CHECK(longer != nullptr, "curl_slist_append");
    headers = longer;
  }
};

HttpClient::HttpClient(const Settings& settings, Cancel cancel)
    : settings_(settings), cancel_(cancel), handle_(std::make_unique<Handle>()) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  origin_ = origin_of(parse_url(settings.endpoint));
  handle_->curl = curl_easy_init();
  RUSHES_CHECK(handle_->curl != nullptr, "curl_easy_init");
}

HttpClient::~HttpClient() = default;

bool HttpClient::is_hub(const std::string& url) const {
  return origin_of(parse_url(url)) == origin_;
}

void HttpClient::set_up(const std::string& url, uint64_t from) {
  CURL* curl = handle_->curl;
  curl_easy_reset(curl);  // keeps connections
  curl_slist_free_all(handle_->headers);
  handle_->headers = nullptr;
  handle_->error[0] = '\0';
  handle_->add_header("Accept-Encoding: identity");  // sizes and ranges are those of the file
  if (!settings_.token.empty() && is_hub(url))
    handle_->add_header("Authorization: Bearer " + settings_.token);
  if (from > 0) handle_->add_header(str("Range: bytes=", from, "-"));
  const std::string agent = "rushes/" + version();
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, handle_->headers);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, agent.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  if (!settings_.certificates.empty()) curl_easy_setopt(curl, CURLOPT_CAINFO, settings_.certificates.c_str());
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(settings_.stall_seconds));
  curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 512L << 10);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, handle_->error);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
}

Reply HttpClient::get(const std::string& url, uint64_t from, const Sink& sink) {
  std::string at = url;
  for (int hop = 0; hop <= kMostRedirects; ++hop) {
    cancel_.check();
    set_up(at, from);
    Transfer transfer;
    transfer.sink = &sink;
    transfer.cancel = cancel_;
    curl_easy_setopt(handle_->curl, CURLOPT_HEADERDATA, &transfer);
    curl_easy_setopt(handle_->curl, CURLOPT_WRITEDATA, &transfer);
    curl_easy_setopt(handle_->curl, CURLOPT_XFERINFODATA, &transfer);
    const CURLcode code = curl_easy_perform(handle_->curl);
    if (transfer.error) std::rethrow_exception(transfer.error);
    cancel_.check();
    const bool enough = code == CURLE_WRITE_ERROR && transfer.reply.body.size() >= kMostErrorBody;
    if (code != CURLE_OK && !enough) throw transfer_error(code, at, handle_->error);
    if (!is_redirect(transfer.reply.status)) {
      transfer.reply.from_hub = is_hub(at);
      transfer.reply.host = host_of(at);
      return std::move(transfer.reply);
    }
    at = redirect_target(at, transfer.reply.header("location"));
  }
  throw TransferError(TransferError::Kind::answer,
                      str("more than ", kMostRedirects, " redirects, one after the other"));
}

Reply HttpClient::get_text(const std::string& url, uint64_t most) {
  std::string body;
  Reply reply = get(url, 0, [&](const Reply&, std::string_view bytes) {
    if (body.size() + bytes.size() > most)
      throw TransferError(TransferError::Kind::answer,
                          str("an answer of more than ", most, " bytes, which is not read"));
    body += bytes;
  });
  if (reply.status == 200 || reply.status == 206) reply.body = std::move(body);
  return reply;
}

std::string url_escaped(const std::string& text, bool keep_slashes) {
  static const char kDigits[] = "0123456789ABCDEF";
  std::string escaped;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~").find(c) != std::string_view::npos;
    if (plain || (c == '/' && keep_slashes)) {
      escaped += c;
    } else {
      escaped += '%';
      escaped += kDigits[static_cast<unsigned char>(c) >> 4];
      escaped += kDigits[static_cast<unsigned char>(c) & 15];
    }
  }
  return escaped;
}

}  // namespace rushes::hub
