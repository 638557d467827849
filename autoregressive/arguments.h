#pragma once

#include <ATen/core/Tensor.h>

#include "autoregressive/model.h"

namespace lexel::ar {

// Checks at the public border of a model's functions; `function` names the one that was called.

/// throws   Error(kUsage) on a dtype or a rate of dropout that cannot be
void check_options(const ForwardOptions& options, const char* function);
/// throws   Error(kUsage) on text or lengths of another shape or dtype; Error(kBadData) on their values
void check_text(const Config& config, const Condition& condition, const char* function);
/// throws   Error(kUsage) on tasks of another shape or dtype, or none where the model needs them; Error(kBadData) on their values
void check_tasks(const Config& config, const Condition& condition, int64_t rows,
                 const char* function);
/// Everything that a teacher-forced pass is given.
/// throws   Error(kUsage) on another shape or dtype; Error(kBadData) on ids past their tables
void check_arguments(const Config& config, const Condition& condition, const at::Tensor& tokens,
                     const ForwardOptions& options, const char* function);
/// throws   Error(kUsage) on places of another shape, dtype, order or range, or a model with conv-shaped blocks
void check_places(const Config& config, const at::Tensor& tokens, const at::Tensor& places,
                  const char* function);

}  // namespace lexel::ar
