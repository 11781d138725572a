#include "jobs/owner.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstring>
#include <ctime>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/timer.h"
#include "jobs/output_folder.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

constexpr size_t kOwnerFileBytes = 1024;  // always the same, so that rewriting in place never grows the file
constexpr double kLongestUnsaid = 1.0;    // seconds that a change of the status waits to be written
constexpr int kCrashMark = '@';  // the file's last byte is a line break, or this plus a signal's number

constexpr int kCrashSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

// A signal handler can reach nothing but globals.
char g_owner_file[4096] = {};
struct sigaction g_before[NSIG] = {};

/// Only what a signal handler may call.
extern "C" void note_crash(int number, siginfo_t* info, void*) {
  const bool fault =
      info->si_code > 0;  // else somebody sent it: abort() and raise() do, and so may a stranger
  if (fault || info->si_pid == getpid()) {
    const int fd = ::open(g_owner_file, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
      const char mark = static_cast<char>(kCrashMark + number);
      [[maybe_unused]] const ssize_t written = ::pwrite(fd, &mark, 1, kOwnerFileBytes - 1);
      ::close(fd);
    }
  }
  // Then what would have been done without us: a fault comes again by itself, with its address.
  sigaction(number, &g_before[number], nullptr);
  if (!fault) raise(number);
}

std::string read_or_empty(const fs::path& path) {
  try {
    return read_file(path, 1 << 16);
  } catch (const UserError&) {
    return {};
  }
}

template <class Number>
std::optional<Number> parse_number(const std::string& text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Host names go into file names and are cut at dots when a token is read back.
std::string clean_host() {
  char name[256] = {};
  gethostname(name, sizeof name - 1);
  std::string clean;
  for (const char c : std::string(name).substr(0, 40)) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
    clean += plain ? c : '-';
  }
  return clean.empty() ? "host" : clean;
}

double cpu_seconds() {
  timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return std::round(static_cast<double>(used.tv_sec) * 100 + static_cast<double>(used.tv_nsec) / 1e7) / 100;
}

std::string kernel_digits() {
  char space[64] = {};
  if (readlink("/proc/self/ns/pid", space, sizeof space - 1) < 0) space[0] = '\0';
  return hash_bytes(read_or_empty("/proc/sys/kernel/random/boot_id") + space).substr(0, 8);
}

}  // namespace

std::string OwnerId::token() const {
  return str(host, ".", pid, ".", start);
}

std::optional<OwnerId> OwnerId::parse(const std::string& token) {
  const size_t second = token.rfind('.');
  if (second == std::string::npos || second == 0 || token.size() > 200) return std::nullopt;
  const size_t first = token.rfind('.', second - 1);
  if (first == std::string::npos || first == 0) return std::nullopt;
  OwnerId id;
  id.host = token.substr(0, first);
  if (id.host.find_first_of("./") != std::string::npos) return std::nullopt;
  const auto pid = parse_number<int64_t>(token.substr(first + 1, second - first - 1));
  const auto start = parse_number<uint64_t>(token.substr(second + 1));
  if (!pid || *pid <= 0 || !start) return std::nullopt;
  id.pid = *pid;
  id.start = *start;
  return id;
}

OwnerId this_process() {
  OwnerId id;
  id.host = clean_host() + "-" + kernel_digits();
  id.pid = getpid();
  id.start = process_start(id.pid).value_or(0);
  return id;
}

std::optional<uint64_t> process_start(int64_t pid) {
  // Field 22 of /proc/<pid>/stat; field 2, the name in brackets, may hold anything.
  const std::string stat = read_or_empty(str("/proc/", pid, "/stat"));
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos || name_end + 2 >= stat.size()) return std::nullopt;
  std::istringstream fields(stat.substr(name_end + 2));
  std::string field;
  for (int number = 3; number <= 22 && fields >> field; ++number) {
    if (number == 3 && (field == "Z" || field == "X")) return std::nullopt;
    if (number == 22) return parse_number<uint64_t>(field);
  }
  return std::nullopt;
}

nlohmann::json to_json(const OwnerStatus& s) {
  return {
      {"token", s.token},         {"run", s.run},   {"job", s.job},         {"rank", s.rank},
      {"world", s.world},         {"item", s.item}, {"writing", s.writing}, {"helps", s.helps},
      {"stage", s.stage},         {"step", s.step}, {"steps", s.steps},     {"s_step", s.seconds_per_step},
      {"s_item", s.item_seconds}, {"beat", s.beat}, {"cpu", s.cpu_seconds}, {"first", s.first}};
}

std::optional<OwnerStatus> owner_status_from(const std::string& text) {
  try {
    const auto json = nlohmann::json::parse(text.substr(0, kOwnerFileBytes - 1));
    OwnerStatus s;
    for (const int number : kCrashSignals) {
      if (text.size() == kOwnerFileBytes && text.back() == kCrashMark + number) s.crash = number;
    }
    s.token = json.at("token").get<std::string>();
    s.run = json.at("run").get<std::string>();
    s.job = json.at("job").get<std::string>();
    constexpr int64_t kMostRanks = std::numeric_limits<int>::max();
    s.rank = static_cast<int>(whole_at(json, "rank", 0, kMostRanks));
    s.world = static_cast<int>(whole_at(json, "world", 0, kMostRanks));
    s.item = json.at("item").get<std::string>();
    s.writing = json.at("writing").get<std::string>();
    s.stage = json.at("stage").get<std::string>();
    s.step = whole_at(json, "step");
    s.steps = whole_at(json, "steps");
    s.seconds_per_step = json.at("s_step").get<double>();
    s.item_seconds = json.at("s_item").get<double>();
    s.beat = static_cast<uint64_t>(whole_at(json, "beat"));
    s.cpu_seconds = json.value("cpu", 0.0);  // an older version's file has none of these
    s.first = json.value("first", "");
    s.helps = json.value("helps", "");
    return s;
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;  // caught in the middle of a rewrite, or not ours
  }
}

std::optional<OwnerStatus> read_owner_status(const fs::path& file) {
  return owner_status_from(read_or_empty(file));
}

Owner::Owner(fs::path folder, OwnerStatus status, double period)
    : path_(folder / (status.token + ".json")),
      token_(status.token),
      period_(period),
      status_(std::move(status)) {
  const int fd = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) fail("cannot write ", path_.string(), ": ", std::strerror(errno));
  // The space is taken now, so that a full disk later stops no heartbeat.
  std::string blank(kOwnerFileBytes, ' ');
  blank.back() = '\n';
  const ssize_t count = ::pwrite(fd, blank.data(), blank.size(), 0);
  const bool written = count == static_cast<ssize_t>(blank.size());
  const int why = count < 0 ? errno : ENOSPC;
  ::close(fd);
  if (!written) {
    ::unlink(path_.c_str());
    fail("cannot write ", path_.string(), ": ", std::strerror(why));
  }
  {
    const std::lock_guard lock(mutex_);
    write_locked();
  }
  if (period_ > 0) thread_ = std::thread([this] { beat(); });
}

Owner::~Owner() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
  ::unlink(path_.c_str());
}

void Owner::change(const std::function<void(OwnerStatus&)>& edit) {
  const std::lock_guard lock(mutex_);
  edit(status_);
  if (written_.seconds() >= kLongestUnsaid) write_locked();
}

void Owner::announce(const std::function<void(OwnerStatus&)>& edit) {
  const std::lock_guard lock(mutex_);
  edit(status_);
  write_locked();
}

OwnerStatus Owner::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

void Owner::beat() {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, std::chrono::duration<double>(period_), [this] { return ending_; })) {
    try {
      write_locked();
    } catch (const std::bad_alloc&) {
      // A clip in the making has it all for a moment, and is about to hear of it: the next beat comes.
    }
  }
}

void Owner::write_locked() {
  ++status_.beat;
  status_.cpu_seconds = cpu_seconds();
  written_ = Timer();
  OwnerStatus shown = status_;
  std::string text = to_json(shown).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (text.size() >= kOwnerFileBytes) {  // ids are at most a file name long; this is for a hostile one
    shown.item.resize(std::min<size_t>(shown.item.size(), 100));
    shown.writing.resize(std::min<size_t>(shown.writing.size(), 100));
    shown.helps.resize(std::min<size_t>(shown.helps.size(), 100));
    shown.stage.resize(std::min<size_t>(shown.stage.size(), 40));
    text = to_json(shown).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  }
  text.resize(kOwnerFileBytes - 1, ' ');  // the last byte is a crash's
  // Opened and closed each time: on a network file system that is what shows the change to other hosts.
  const int fd = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) {
    if (status_.beat % 16 == 2)
      log_warning("cannot write the heartbeat ", path_.string(), ": ", std::strerror(errno));
    return;
  }
  // A failure shows as a missing beat; whoever writes the clips meets the same disk and reports it.
  [[maybe_unused]] const ssize_t written = ::pwrite(fd, text.data(), text.size(), 0);
  ::close(fd);
}

void mark_crashes(const fs::path& owner_file) {
  const std::string path = fs::absolute(owner_file).string();
  if (path.size() >= sizeof g_owner_file) return;
  std::memcpy(g_owner_file, path.c_str(), path.size() + 1);
  static std::array<char, 65536> stack;  // a stack that ran over holds no handler
  stack_t before{};
  if (sigaltstack(nullptr, &before) == 0 && (before.ss_flags & SS_DISABLE) != 0) {
    stack_t own{};
    own.ss_sp = stack.data();
    own.ss_size = stack.size();
    sigaltstack(&own, nullptr);
  }
  for (const int number : kCrashSignals) {
    struct sigaction action {
    }, old{};
    action.sa_sigaction = note_crash;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    if (sigaction(number, &action, &old) == 0 && old.sa_sigaction != note_crash) g_before[number] = old;
  }
}

OwnerWatch::OwnerWatch(fs::path folder, double patience, Clock clock)
    : folder_(std::move(folder)), patience_(patience), clock_(std::move(clock)), self_(this_process()) {
  if (!clock_) clock_ = [timer = Timer()] { return timer.seconds(); };
}

bool OwnerWatch::is_local(const std::string& token) const {
  const auto id = OwnerId::parse(token);
  return id && id->host == self_.host;
}

bool OwnerWatch::is_dead(const std::string& token) {
  if (const auto id = OwnerId::parse(token); id && id->host == self_.host) {
    const auto start = process_start(id->pid);
    if (start) return *start != id->start;
    // Another user's process may be hidden from /proc (hidepid): then its heartbeat tells, as on another
    // host.
    if (::kill(static_cast<pid_t>(id->pid), 0) == 0 || errno != EPERM) return true;  // a zombie, or nobody
  }
  const std::string text = read_or_empty(folder_ / (fs::path(token).filename().string() + ".json"));
  const std::string content = text.empty() ? text : hash_bytes(text);
  const double now = clock_();
  const std::lock_guard lock(mutex_);
  const auto [at, first] = seen_.try_emplace(token, Seen{content, now});
  if (!first && at->second.content != content) at->second = {content, now};
  return now - at->second.since >= patience_;
}

}  // namespace rushes
