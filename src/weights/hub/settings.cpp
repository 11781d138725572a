#include "weights/hub/settings.h"

#include <algorithm>
#include <charconv>

#include "base/env.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

namespace rushes::hub {
namespace {

namespace fs = std::filesystem;
constexpr uint64_t kMostTokenBytes = 4096;

fs::path expand_home(const std::string& text) {
  if (text != "~" && !text.starts_with("~/")) return text;
  return fs::path(env(EnvVar::home)) / (text.size() > 2 ? text.substr(2) : "");
}

/// $HF_HOME, else $XDG_CACHE_HOME/huggingface, else ~/.cache/huggingface.
fs::path hub_home() {
  if (const std::string home = env(EnvVar::hf_home); !home.empty()) return expand_home(home);
  const std::string caches = env(EnvVar::xdg_cache_home);
  return (caches.empty() ? expand_home("~/.cache") : expand_home(caches)) / "huggingface";
}

fs::path hub_cache() {
  for (const EnvVar variable : {EnvVar::hf_hub_cache, EnvVar::huggingface_hub_cache}) {
    if (const std::string cache = env(variable); !cache.empty()) return expand_home(cache);
  }
  return hub_home() / "hub";
}

std::string stripped(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") + 1 - first);
}

void read_token(Settings& settings) {
  settings.token = stripped(env(EnvVar::hf_token));
  settings.token_source = "HF_TOKEN";
  if (settings.token.empty()) {
    const std::string given = env(EnvVar::hf_token_path);
    const fs::path file = given.empty() ? hub_home() / "token" : expand_home(given);
    std::error_code error;
    if (!fs::is_regular_file(file, error)) return;
    settings.token = stripped(read_file(file, kMostTokenBytes));
    settings.token_source = file.string();
  }
  log_secret(settings.token);
  const bool plain =
      std::all_of(settings.token.begin(), settings.token.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (!plain)
    fail("the access token of ", settings.token_source,
         " holds spaces or characters that no token has; it should be one word, as huggingface.co/settings/"
         "tokens shows it");
}

bool is_true(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text == "1" || text == "ON" || text == "YES" || text == "TRUE";
}

int seconds_of(EnvVar variable, const char* name, int otherwise) {
  const std::string text = env(variable);
  if (text.empty()) return otherwise;
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1)
    fail(name, " is '", text, "'; it takes a number of seconds, at least 1");
  return value;
}

std::string endpoint_from_env(const std::string& usual) {
  std::string endpoint = env(EnvVar::hf_endpoint);
  while (endpoint.ends_with("/"))
    endpoint.pop_back();
  if (endpoint.empty()) return usual;
  const bool web = endpoint.starts_with("http://") || endpoint.starts_with("https://");
  const bool plain =
      std::all_of(endpoint.begin(), endpoint.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (!web || !plain || endpoint.find_first_of("@?#") != std::string::npos)
    fail("HF_ENDPOINT must be the address of a Hub, like https://huggingface.co, without user or query");
  return endpoint;
}

}  // namespace

Settings settings_from_env() {
  Settings settings;
  settings.cache = fs::absolute(hub_cache());
  settings.endpoint = endpoint_from_env(settings.endpoint);
  settings.certificates = env(EnvVar::ssl_cert_file);
  settings.offline = is_true(env(EnvVar::hf_hub_offline));
  settings.stall_seconds =
      seconds_of(EnvVar::hf_hub_download_timeout, "HF_HUB_DOWNLOAD_TIMEOUT", settings.stall_seconds);
  settings.wait_seconds =
      seconds_of(EnvVar::hub_wait, "RUSHES_HUB_WAIT", static_cast<int>(settings.wait_seconds));
  read_token(settings);
  return settings;
}

}  // namespace rushes::hub
