#pragma once

#include <ATen/core/Tensor.h>
#include <functional>
#include <string>
#include <vector>

namespace lexel::bench {

/// What bounds a kernel: its work is counted in this ceiling's unit, and compared with what the machine reached in the same run.
enum class Ceiling {
  kFma,     // float32 multiply-adds: work in FLOP, two each
  kTensor,  // bfloat16 matrix products: FLOP
  kRead,    // memory that is read: bytes
  kUpdate,  // memory that is read and written back: bytes, both ways counted
  kCache,   // memory that is read again and again, and fits the last cache: bytes
  kLaunch,  // nothing but the call's own cost: work 0
};

/// One way to do the job: a name for the table and the call to time. The call works on tensors made by prepare().
struct Contender {
  std::string name;           // "LibTorch matmul + argmax"
  std::function<void()> run;  // once, on the device of the case
};

struct Runs {
  Contender ours;
  std::vector<Contender> peers;  // timed beside ours, in turn
  std::function<std::string()>
      check;  // before anything is timed: what was compared ("ids equal in 1024 rows, 0 flips")
              // throws Error(kInternal) when ours is wrong
};

/// One line of the table. prepare() makes the tensors, so that only the case in work takes memory.
struct Case {
  std::string kernel;  // "codebook_lookup": the file's name in kernels/
  std::string name;    // "1024 x 8192 x 32, cosine"
  Ceiling ceiling;
  double work;  // of one call of ours, in the ceiling's unit
  std::function<Runs()> prepare;
};

/// The cases of one kernel on a device, one function a file of cases/. Names with the same meaning on both devices are equal.
std::vector<Case> codebook_lookup_cases(at::Device device);
std::vector<Case> pyramid_lookup_cases(at::Device device);
std::vector<Case> attention_cases(at::Device device);
std::vector<Case> decode_attention_cases(at::Device device);
std::vector<Case> linear_decode_cases(at::Device device);
std::vector<Case> sampling_cases(at::Device device);
std::vector<Case> adamw_cases(at::Device device);
std::vector<Case> adafactor_cases(at::Device device);
std::vector<Case> logit_laplace_cases(at::Device device);
std::vector<Case> upfirdn_cases(at::Device device);

}  // namespace lexel::bench
