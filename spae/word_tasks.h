#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "spae/prompts.h"

namespace lexel::spae {

// Drawing by a language model, planned: which words are hidden, changed and asked for. Pyramids are words in read-out order;
// `sides` are those of its layers: {1, 2, 4, 8, 16, 16} holds 597 words.

/// What a language model is asked to do to a picture.
enum class WordTask {
  kDeblur,    // all words again, from some that are wrong
  kInpaint,   // the middle of each layer, half as wide and high
  kOutpaint,  // the lower half of each layer
  kRotate,    // each layer a quarter turn clockwise
  kShift,     // each layer a quarter of its side to the right; what leaves comes back on the left
  kCaption,   // from a text
};

/// throws  Error(kUsage) naming the tasks, for another name than deblur, inpaint, outpaint, rotate, shift, caption
WordTask word_task(const std::string& name);

/// Words of a pyramid. throws Error(kUsage) no layers, or a side outside of 1..1024
int64_t num_words(const std::vector<int64_t>& sides);

/// Where the task hides words: (words) true at hidden places; kInpaint and kOutpaint only, layers of side 1 wholly.
std::vector<bool> hidden_places(WordTask task, const std::vector<int64_t>& sides);

/// The words as the task changes their places (kRotate, kShift), or as they are.
/// throws   Error(kUsage) when there are not as many as the sides say
std::vector<std::string> moved_words(WordTask task, const std::vector<std::string>& words,
                                     const std::vector<int64_t>& sides);

/// Words of which a share is replaced by others of a list. The same seed and index give the same result.
///
/// share    0..1: of n words, round(share n) places, drawn without repetition
/// throws   Error(kUsage) a share outside, or an empty list
std::vector<std::string> corrupted(const std::vector<std::string>& words,
                                   const std::vector<std::string>& list, double share,
                                   uint64_t seed, uint64_t index);

/// Shares that fall evenly over the pairs of a prompt, 0.50, 0.47 ... 0.23 for 10.
/// source   V2L-Tokenizer's code: from 0.5 in steps of 0.03
std::vector<double> falling_corruption(int64_t pairs, double first = 0.5, double step = 0.03);

/// Pairs for the task, one a picture: kDeblur's inputs are corrupted by falling_corruption, kInpaint's and kOutpaint's hide
/// words, kRotate's and kShift's outputs are moved.
///
/// list     words for corruption
/// throws   Error(kUsage) kCaption, whose pairs a caller makes of texts
std::vector<DrawingPair> task_pairs(WordTask task,
                                    const std::vector<std::vector<std::string>>& pictures,
                                    const std::vector<int64_t>& sides,
                                    const std::vector<std::string>& list, uint64_t seed);

/// Progressive decoding. Early layers are parallel-autoregressive: passes of `words_per_pass`, which see all words drawn before.
/// From `parallel_layer` (counted from 0) on they are parallel-non-autoregressive: passes of one word, which see the words of
/// earlier layers and none of their own.
///
/// throws   Error(kUsage) words_per_pass < 1, or a parallel_layer outside of 0..layers
/// source   Yu et al. 2023, arXiv:2306.17842; the sizes of passes are not known, V2L-Tokenizer takes 2
std::vector<DrawingPass> progressive_plan(const std::vector<int64_t>& sides, int64_t words_per_pass,
                                          int64_t parallel_layer);

}  // namespace lexel::spae
