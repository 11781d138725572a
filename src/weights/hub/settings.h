#pragma once
// Where the Hub is and where what comes from it is kept: the variables of huggingface_hub, with its defaults.

#include <filesystem>
#include <string>

namespace rushes::hub {

struct Settings {
  std::filesystem::path cache;                      // HF_HUB_CACHE, else $HF_HOME/hub
  std::string endpoint = "https://huggingface.co";  // HF_ENDPOINT, without a '/' at its end
  std::string token;                                // HF_TOKEN, else the token file; "" for none
  std::string token_source;                         // "HF_TOKEN" or the file, for messages
  std::string certificates;                         // SSL_CERT_FILE; "": the system's
  bool offline = false;                             // HF_HUB_OFFLINE
  int stall_seconds = 30;     // HF_HUB_DOWNLOAD_TIMEOUT: no byte for so long is an error
  double wait_seconds = 600;  // RUSHES_HUB_WAIT: for another process that makes no headway
};

/// Reads the environment and the token file. Throws UserError where a value cannot be used, without a token's
/// text. The token is hidden in every log line from then on.
Settings settings_from_env();

}  // namespace rushes::hub
