#pragma once
// Files that appear whole or not at all, and reads that say what is wrong.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace rushes {

/// The whole file. Throws UserError (path and reason) if it can't be read or is larger than `max_bytes`.
std::string read_file(const std::filesystem::path& path, uint64_t max_bytes = uint64_t{1} << 32);

/// Writes beside `path` (name `.<name>.<owner>.tmp`), fsyncs, renames over `path`, fsyncs the folder.
/// `owner` names the process, so that clean-up can tell whose leftover a temporary file is.
/// Throws UserError (path and reason, "No space left on device" among them) and removes the temporary file.
void write_file_atomic(const std::filesystem::path& path, std::string_view bytes, const std::string& owner);

/// The same for a writer that needs a path of its own: `write` gets the temporary path (same folder, same
/// extension) and makes the file; then fsync and rename. If `write` throws, the temporary file is removed and
/// the error passed on.
void write_path_atomic(const std::filesystem::path& path, const std::string& owner,
                       const std::function<void(const std::filesystem::path&)>& write);

/// The temporary name used for `path` by `owner`: same folder, hidden, same extension.
std::filesystem::path temporary_name(const std::filesystem::path& path, const std::string& owner);

/// What keeps a folder from being made at `path`, or new files from being put into the one that is there, as
/// far as that shows without a try: "/data: Permission denied"; or "".
std::string folder_problem(const std::filesystem::path& path);
/// What keeps a file from being written at `path`, likewise; its folder must be there.
std::string file_problem(const std::filesystem::path& path);

/// fsync of a file or folder by path. Throws UserError.
void sync_path(const std::filesystem::path& path);

/// XXH3 128 bits of the bytes, as 32 hex digits. Not against an enemy: it tells change, not forgery.
std::string hash_bytes(std::string_view bytes);
/// The same of a file, read in pieces. Throws UserError.
std::string hash_file(const std::filesystem::path& path);

/// A valid UTF-8 text without NUL?
bool is_utf8(std::string_view bytes);

}  // namespace rushes
