#include "weights/hub/api.h"

#include <algorithm>
#include <random>

#include "base/log.h"
#include "base/timer.h"
#include "weights/model_dir.h"
#include "weights/words.h"

namespace rushes::hub {
namespace {

constexpr uint64_t kMostAnswerBytes = uint64_t{64} << 20;
constexpr size_t kMostPages = 1000;
constexpr size_t kMostFiles = 1000000;
constexpr int kMostTries = 6;
constexpr int kMostUnknown = 3;  // times that a host's name was not known: more is no accident
constexpr double kFirstWait = 0.5, kLongestWait = 30, kLongestAsked = 600, kBeat = 1;
constexpr int kMostRefusedLinks = 2;  // one after the other: an expired link, and not a new one
const std::string kUsualEndpoint = "https://huggingface.co";

/// The next page's address of a Link header (RFC 8288), or "".
std::string next_link(const std::string& header) {
  for (size_t at = 0; (at = header.find('<', at)) != std::string::npos;) {
    const size_t end = header.find('>', at);
    if (end == std::string::npos) return {};
    const size_t stop = std::min(header.find(", <", end), header.size());
    if (header.substr(end, stop - end).find("rel=\"next\"") != std::string::npos)
      return header.substr(at + 1, end - at - 1);
    at = end;
  }
  return {};
}

/// Sums of sizes must not wrap, and none is larger than a disk.
uint64_t size_from(const nlohmann::json& size) {
  if (!size.is_number_unsigned() || size.get<uint64_t>() > uint64_t{1} << 50)
    fail("a file's size is ", size.dump());
  return size.get<uint64_t>();
}

TreeFile file_from(const nlohmann::json& row) {
  TreeFile file;
  file.size = size_from(row.at("size"));
  file.blob_id = row.at("oid").get<std::string>();
  if (const auto lfs = row.find("lfs"); lfs != row.end() && lfs->is_object()) {
    file.lfs_sha256 = lfs->at("oid").get<std::string>();
    file.size = size_from(lfs->at("size"));
    if (!is_hex(file.lfs_sha256, 64)) fail("its sha256 is ", quote_name(file.lfs_sha256));
  }
  if (!is_hex(file.blob_id, 40)) fail("its git id is ", quote_name(file.blob_id));
  if (const auto xet = row.find("xetHash"); xet != row.end() && xet->is_string()) {
    file.xet_hash = xet->get<std::string>();
    if (!is_hex(file.xet_hash, 64)) file.xet_hash.clear();
  }
  return file;
}

/// Adds a page's files. Every name and hash is checked here, before a path is made of any.
void add_page(const nlohmann::json& page, Tree& tree) {
  if (!page.is_array()) fail("it is no list");
  for (const auto& row : page) {
    const std::string path = row.at("path").get<std::string>();
    if (const auto wrong = wrong_path(path))
      fail("it names ", quote_name(path), ", a path that ", *wrong, "; nothing of it is fetched");
    if (row.at("type") != "file") continue;
    if (tree.size() >= kMostFiles) fail("it has more than ", kMostFiles, " files");
    try {
      tree[path] = file_from(row);
    } catch (const UserError& error) {
      fail("file ", quote_name(path), ": ", error.what());
    }
  }
}

/// ", to be asked again in 60 s", or "".
std::string wait_text(const Reply& reply) {
  const double seconds = reply.retry_after();
  return seconds > 0 ? str(", to be asked again in ", seconds, " s") : std::string();
}

/// From where the Hub redirected to, and not another Hub's own answer (a mirror's redirect).
bool is_of_store(const Reply& reply) {
  return !reply.from_hub && reply.header("x-error-code").empty();
}

}  // namespace

bool Retries::wait(double asked, const std::string& why) {
  if (++tries_ >= kMostTries || asked > kLongestAsked) return false;
  static thread_local std::minstd_rand random{std::random_device{}()};
  const double usual = std::min(kLongestWait, kFirstWait * (1 << (tries_ - 1)));
  const double spread = std::uniform_real_distribution<double>(0.75, 1.25)(random);
  const double seconds = std::max(asked, usual * spread);
  if (seconds > 5)
    log_info("Hub: ", why, "; asking again in ", static_cast<int>(seconds), " s");
  else
    log_debug("Hub: ", why, "; asking again in ", seconds, " s");
  for (const Timer waited; waited.seconds() < seconds;) {
    if (heartbeat_) heartbeat_();
    cancel_.sleep(std::min(kBeat, seconds - waited.seconds()));
  }
  return true;
}

Api::Api(const Settings& settings, ModelId model, Cancel cancel, Heartbeat heartbeat)
    : settings_(settings),
      model_(std::move(model)),
      cancel_(cancel),
      heartbeat_(std::move(heartbeat)),
      http_(settings, cancel) {}

bool Api::may_pass(const Reply& reply) {
  return reply.status == 408 || reply.status == 429 || reply.status >= 500 || is_refused_link(reply);
}

bool Api::is_refused_link(const Reply& reply) {
  const bool refused = reply.status >= 400 && reply.status < 500 && reply.status != 408 &&
                       reply.status != 416 && reply.status != 429;
  return refused && is_of_store(reply);
}

/// Of the file store (a bucket, a CDN) that the Hub's links lead to; it knows nothing of models and accounts.
UserError Api::store_refusal(const Reply& reply, const std::string& what) const {
  const std::string answer = str("cannot fetch ", what, ": the file store ", reply.host, ", to which ",
                                 settings_.endpoint, " redirects, answered ", reply.status, wait_text(reply));
  if (!is_refused_link(reply)) return UserError(answer);
  return UserError(
      str(answer,
          ", though the Hub itself had allowed it and gave a link: try again later, and see that "
          "no proxy or firewall keeps ",
          reply.host, " away"));
}

UserError Api::refusal(const Reply& reply, const std::string& what) const {
  const std::string code = reply.header("x-error-code");
  const std::string said = reply.header("x-error-message");
  if (is_of_store(reply)) return store_refusal(reply, what);
  const bool token = !settings_.token.empty();
  std::string who = settings_.endpoint;
  if (!reply.from_hub)
    who = str(reply.host, ", to which ", settings_.endpoint, " redirects",
              token ? " and no token is sent (HF_ENDPOINT may name it)," : ",");
  const std::string answer = str(" (", who, " answered ", reply.status, wait_text(reply),
                                 said.empty() ? std::string() : ": " + hide_secrets(quote_name(said)), ")");
  const std::string page = settings_.endpoint + "/" + model_.name;
  if (code == "RevisionNotFound")
    return UserError(str("model ", model_.name, " has no revision '", model_.revision, "'", answer,
                         "; its branches and commits: ", page, "/commits/main"));
  if (code == "EntryNotFound") return UserError(str(what, " is not there", answer));
  if (code == "GatedRepo")
    return UserError(str("model ", model_.name, " is gated", answer, ": ask for access on ", page,
                         token ? ", with the account whose token is in " + settings_.token_source
                               : ", and give that account's token in HF_TOKEN"));
  if (reply.status == 401 && token && code != "RepoNotFound")
    return UserError(str("the Hub does not take the token of ", settings_.token_source, answer,
                         ": make a new one at ", settings_.endpoint, "/settings/tokens"));
  if (reply.status == 401 || code == "RepoNotFound" || (reply.status == 404 && code.empty()))
    return UserError(str("the Hub has no model ", model_.name,
                         token ? str(" that the token of ", settings_.token_source, " may read")
                               : std::string(" that may be read without a token"),
                         answer, ": check the name",
                         token ? "" : "; for a private or gated model set HF_TOKEN"));
  if (reply.status == 403)
    return UserError(str("the Hub does not allow ", what, answer,
                         token ? str(": the token of ", settings_.token_source, " needs the right to read it")
                               : std::string(": it may want a token in HF_TOKEN")));
  return UserError(str("cannot fetch ", what, answer));
}

/// One page, tried again while that may help. `next`: the page after it, or "".
nlohmann::json Api::get_json(std::string url, const std::string& what, std::string& next) {
  Retries retries(cancel_, heartbeat_);
  int unknown = 0, refused_links = 0;
  while (true) {
    std::string why;
    double asked = 0;
    try {
      const Reply reply = http_.get_text(url, kMostAnswerBytes);
      if (reply.status == 200) {
        next = next_link(reply.header("link"));
        // A mirror passes the Hub's own addresses on.
        if (next.starts_with(kUsualEndpoint + "/"))
          next = settings_.endpoint + next.substr(kUsualEndpoint.size());
        if (!next.empty() && !http_.is_hub(next)) fail(what, ": the next page leads to another host");
        return parse_json(reply.body, what);
      }
      if (!may_pass(reply)) throw refusal(reply, what);
      why = refusal(reply, what).what();
      asked = reply.retry_after();
      if (is_refused_link(reply) && ++refused_links >= kMostRefusedLinks) throw Unreachable(why);
    } catch (const TransferError& error) {
      why = str("cannot fetch ", what, ": ", error.what());
      if (error.kind() == TransferError::Kind::answer) throw UserError(why);
      const bool unknown_name = error.kind() == TransferError::Kind::name;
      if (error.kind() == TransferError::Kind::certificate || (unknown_name && ++unknown >= kMostUnknown))
        throw Unreachable(why);
    }
    if (!retries.wait(asked, why)) throw Unreachable(why);
  }
}

std::string Api::commit() {
  const std::string what = "the commit of " + model_.text();
  std::string next;
  const nlohmann::json info = get_json(
      settings_.endpoint + "/api/models/" + model_.name + "/revision/" + url_escaped(model_.revision, false),
      what, next);
  const auto sha = info.is_object() ? info.find("sha") : info.end();
  if (!info.is_object() || sha == info.end() || !sha->is_string() || !is_commit(sha->get<std::string>()))
    fail(what, ": ", settings_.endpoint, " answered without one: is HF_ENDPOINT a Hub?");
  return sha->get<std::string>();
}

Tree Api::tree(const std::string& commit) {
  const std::string what = "the list of files of " + model_.name + "@" + commit;
  Tree tree;
  std::string url =
      settings_.endpoint + "/api/models/" + model_.name + "/tree/" + commit + "?recursive=True&expand=False";
  for (size_t page = 0; !url.empty(); ++page) {
    if (page == kMostPages) fail(what, ": more than ", kMostPages, " pages");
    std::string next;
    const nlohmann::json rows = get_json(url, what, next);
    try {
      add_page(rows, tree);
    } catch (const UserError& error) {
      fail(what, " cannot be used: ", error.what());
    } catch (const nlohmann::json::exception&) {
      fail(what, " cannot be used: a file without path, size or hash");
    }
    url = next;
  }
  return tree;
}

std::string Api::file_url(const std::string& commit, const std::string& path) const {
  return settings_.endpoint + "/" + model_.name + "/resolve/" + commit + "/" +
         url_escaped(path, /*keep_slashes=*/true);
}

}  // namespace rushes::hub
