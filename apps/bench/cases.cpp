#include "apps/bench/cases.h"

#include <algorithm>

#include "apps/bench/options.h"
#include "kernels/check.h"

namespace lexel::bench {
namespace {

std::vector<Case> cases_of(const std::string& kernel, at::Device device) {
  if (kernel == "codebook_lookup") return codebook_lookup_cases(device);
  if (kernel == "pyramid_lookup") return pyramid_lookup_cases(device);
  if (kernel == "attention") return attention_cases(device);
  if (kernel == "decode_attention") return decode_attention_cases(device);
  if (kernel == "linear_decode") return linear_decode_cases(device);
  if (kernel == "sampling") return sampling_cases(device);
  if (kernel == "adamw") return adamw_cases(device);
  if (kernel == "adafactor") return adafactor_cases(device);
  if (kernel == "logit_laplace") return logit_laplace_cases(device);
  if (kernel == "upfirdn") return upfirdn_cases(device);
  fail(ErrorKind::kInternal, kernel, ": no file of cases");
}

}  // namespace

std::vector<Case> find_cases(at::Device device, const std::vector<std::string>& kernels,
                             const std::string& only) {
  std::vector<Case> found;
  for (const char* const kernel : kKernelNames) {
    if (!kernels.empty() && std::find(kernels.begin(), kernels.end(), kernel) == kernels.end()) {
      continue;
    }
    for (Case& one : cases_of(kernel, device)) {
      if (one.name.find(only) != std::string::npos) found.push_back(std::move(one));
    }
  }
  check(!found.empty(), ErrorKind::kUsage, "no case of these kernels on ", device.str(),
        only.empty() ? "" : concat(" has \"", only, "\" in its name"));
  return found;
}

std::vector<Case> keep_named(std::vector<Case> cases, const std::string& only) {
  std::erase_if(cases, [&](const Case& one) { return one.name.find(only) == std::string::npos; });
  check(!cases.empty(), ErrorKind::kUsage, "no case has \"", only, "\" in its name");
  return cases;
}

}  // namespace lexel::bench
