#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>

#include "autoregressive/model.h"
#include "autoregressive/transformer.h"

namespace lexel::ar {

// A teacher-forced pass in its parts: what a stage of a pipeline needs of the model, without knowing
// the other stages. Each part reads the parameters that it names and no others, which may be
// undefined. token_loss() and its like are these in a row. "The stream" is as in layer_runner.h: a
// runner may hold a part of its tokens, and `tokens` is the number of all.

/// What a pass learns from, as token_loss() has it.
struct Lesson {
  Condition condition;
  at::Tensor tokens;  // (B, N)
  at::Tensor seen;    // (B, N), or undefined: `tokens`
  at::Tensor places;  // (B, n), or undefined: all
};

/// throws   as token_loss(), naming `function`
void check_lesson(const Config& config, const Lesson& lesson, const ForwardOptions& options,
                  const char* function);
/// Rows first .. first + count - 1.
Lesson rows_of(const Lesson& lesson, int64_t first, int64_t count);
/// n where places are given, else N: tokens of the decoder's stream.
int64_t place_count(const Lesson& lesson);

/// dtype of the residual stream: float32, or float64 where that is `compute`.
at::ScalarType residual_type(const ForwardOptions& options);

/// "encoder.blocks.3": how its parameters' names begin, and its streams of dropout.
std::string block_name(const char* stack, size_t i);

/// The pieces of captions, without the columns that are padding in every row, here and in the batch
/// that this one is a part of. Undefined in a model without text.
struct Pieces {
  at::Tensor text;  // (B, m) int64
  at::Tensor keys;  // (B, m) bool: real pieces
};
Pieces pieces_of(const Config& config, const Condition& condition, const ForwardOptions& options);
/// (B, m) bool: true before each row's length.
at::Tensor real_pieces(const at::Tensor& text, const at::Tensor& lengths);

/// Embedding of pieces (B, m) and of their places: text_embedding, text_positions. The encoder's
/// stream, (B, m, D).
at::Tensor encoder_input(const Model& model, const at::Tensor& text, const ForwardOptions& options);
/// Encoder blocks begin .. end - 1. The stream again. `tasks` is that of the condition, for experts that are routed by it.
at::Tensor run_encoder(const Model& model, const at::Tensor& keys, const at::Tensor& x,
                       int64_t begin, int64_t end, const ForwardOptions& options,
                       const at::Tensor& tasks = {});
/// The extra norm, encoder_norm: what decoder blocks attend to, (B, tokens, D) in `compute`.
at::Tensor encoder_output(const Model& model, const at::Tensor& x, int64_t tokens,
                          const ForwardOptions& options);

/// What decoder blocks attend to; both undefined in a model without text.
struct EncodedText {
  at::Tensor output;  // (B, m, D), encoder_output()
  at::Tensor keys;    // (B, m), of its pieces
};

/// Place p holds the token before it and the position of the token that comes there: start,
/// token_embedding, row_positions, column_positions. The decoder's stream, (B, N, D), or (B, n, D)
/// at the lesson's places.
at::Tensor decoder_input(const Model& model, const Lesson& lesson, const ForwardOptions& options);
/// Decoder blocks begin .. end - 1. The stream again.
at::Tensor run_decoder(const Model& model, const EncodedText& text, const at::Tensor& x,
                       int64_t tokens, int64_t begin, int64_t end, const ForwardOptions& options,
                       const at::Tensor& tasks = {});
/// The extra norm, decoder_norm: what the softmax layer reads, the stream in `compute`.
at::Tensor decoder_output(const Model& model, const at::Tensor& x, const ForwardOptions& options);
/// Mean cross entropy of the lesson, `output` being decoder_output(): softmax. () as token_loss()
at::Tensor lesson_loss(const Model& model, const Lesson& lesson, const at::Tensor& output,
                       const ForwardOptions& options);

}  // namespace lexel::ar
