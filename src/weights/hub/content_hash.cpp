#include "weights/hub/content_hash.h"

#include <openssl/evp.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <vector>

#include "base/error.h"

namespace rushes::hub {
namespace {

EVP_MD_CTX* as_context(void* context) {
  return static_cast<EVP_MD_CTX*>(context);
}

}  // namespace

void ContentHash::Free::operator()(void* context) const {
  EVP_MD_CTX_free(as_context(context));
}

ContentHash::ContentHash(const std::string& name, uint64_t size) : context_(EVP_MD_CTX_new()) {
  RUSHES_CHECK(name.size() == 64 || name.size() == 40, name.size(), " digits");
  const EVP_MD* kind = name.size() == 64 ? EVP_sha256() : EVP_sha1();
  if (!context_ || EVP_DigestInit_ex(as_context(context_.get()), kind, nullptr) != 1)
    fail("this machine's OpenSSL computes no ", name.size() == 64 ? "sha256" : "sha1");
  if (name.size() == 40) {
    std::string head = str("blob ", size);
    head += '\0';
    add(head);
  }
}

void ContentHash::add(std::string_view bytes) {
  const int done = EVP_DigestUpdate(as_context(context_.get()), bytes.data(), bytes.size());
  RUSHES_CHECK(done == 1, "EVP_DigestUpdate");
}

std::string ContentHash::finish() {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned int count = 0;
  const int done = EVP_DigestFinal_ex(as_context(context_.get()), bytes, &count);
  RUSHES_CHECK(done == 1, "EVP_DigestFinal_ex");
  static const char kDigits[] = "0123456789abcdef";
  std::string text;
  for (unsigned int i = 0; i < count; ++i) {
    text += kDigits[bytes[i] >> 4];
    text += kDigits[bytes[i] & 15];
  }
  return text;
}

std::string hash_of_file(const std::filesystem::path& file, const std::string& name, uint64_t size,
                         const std::function<void(uint64_t)>& look) {
  std::ifstream in(file, std::ios::binary);
  if (!in) fail("cannot read ", file.string(), ": ", std::strerror(errno));
  ContentHash hash(name, size);
  std::vector<char> piece(size_t{1} << 20);
  uint64_t read = 0;
  while (in.read(piece.data(), static_cast<std::streamsize>(piece.size())) || in.gcount() > 0) {
    const auto count = static_cast<size_t>(in.gcount());
    hash.add({piece.data(), count});
    read += count;
    if (look) look(read);
  }
  if (in.bad()) fail("cannot read ", file.string(), ": ", std::strerror(errno));
  return hash.finish();
}

}  // namespace rushes::hub
