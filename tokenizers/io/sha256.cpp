#include "tokenizers/io/sha256.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <memory>
#include <openssl/evp.h>

#include "kernels/check.h"

namespace lexel {
namespace {

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    ok(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
  }
  void add(const void* data, size_t bytes) {
    ok(EVP_DigestUpdate(context_.get(), data, bytes) == 1);
  }
  std::string hex() {
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    ok(EVP_DigestFinal_ex(context_.get(), digest, &size) == 1);
    std::string text;
    for (unsigned i = 0; i < size; ++i) {
      text += "0123456789abcdef"[digest[i] >> 4];
      text += "0123456789abcdef"[digest[i] & 15];
    }
    return text;
  }

 private:
  static void ok(bool done) { check(done, ErrorKind::kInternal, "sha256: libcrypto failed"); }
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
};

}  // namespace

std::string sha256(const void* data, size_t bytes) {
  Sha256 hash;
  hash.add(data, bytes);
  return hash.hex();
}

std::string codebook_fingerprint(const at::Tensor& codebook, bool normalize) {
  check_arg(codebook.dim() == 2 && codebook.is_floating_point(), "codebook_fingerprint",
            "expected (K, D) floats, got ", c10::toString(codebook.scalar_type()), " of shape ",
            codebook.sizes());
  static_assert(std::endian::native == std::endian::little);
  const at::Tensor codes =
      codebook.detach().cpu().to(at::kFloat, /*non_blocking=*/false, /*copy=*/true).contiguous();
  const int64_t K = codes.size(0), D = codes.size(1);
  float* row = codes.data_ptr<float>();
  for (int64_t k = 0; normalize && k < K; ++k, row += D) {
    // A product of two floats is exact in float64, so a fused multiply-add changes nothing.
    double sum = 0.0;
    for (int64_t d = 0; d < D; ++d) sum += double{row[d]} * double{row[d]};
    const double length = std::max(std::sqrt(sum), 1e-12);
    for (int64_t d = 0; d < D; ++d) row[d] = static_cast<float>(double{row[d]} / length);
  }
  Sha256 hash;
  const std::string head = concat("lexel-codebook ", K, " ", D, "\n");
  hash.add(head.data(), head.size());
  hash.add(codes.const_data_ptr(), codes.nbytes());
  return hash.hex();
}

}  // namespace lexel
