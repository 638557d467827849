#include "autoregressive/parallel/mail.h"

#include <utility>

#include "kernels/check.h"

namespace lexel::parallel {

Mail::Mail(Group& group, const Letters& letters, bool with_backward,
           std::function<at::Tensor(const Letter&)> room)
    : group_(group), letters_(letters), room_(std::move(room)) {
  for (int64_t rank = 0; rank < group.size(); ++rank)
    for (const Letter& letter : letters.sent(rank, group.rank()))
      if (with_backward || !letter.of_backward()) senders_[rank].letters.push_back(letter);
}

void Mail::expect(const Letter& letter) {
  if (letter.from == group_.rank() || incoming_.contains(letter)) return;
  Sender& sender = senders_.at(letter.from);
  while (sender.expected < sender.letters.size()) {
    const Letter& next = sender.letters[sender.expected++];
    Incoming& message = incoming_[next];
    message.content = room_(next);
    message.pending = group_.receive(message.content, next.from);
    if (next == letter) return;
  }
  fail(ErrorKind::kInternal, "a pipeline's letter that nobody sends");
}

at::Tensor Mail::take(const Letter& letter) {
  auto node = incoming_.extract(letter);
  check(!node.empty(), ErrorKind::kInternal, "a pipeline's letter that nobody asked for");
  node.mapped().pending.wait();
  return std::move(node.mapped().content);
}

void Mail::send(const Letter& letter, const at::Tensor& x) {
  const at::Tensor content = x.detach().contiguous();
  if (letter.to == group_.rank()) {
    incoming_[letter].content = content;
  } else {
    outgoing_.push_back({letters_.read_at(letter), group_.send(content, letter.to)});
  }
}

void Mail::finish_sends(int64_t clock) {
  std::erase_if(outgoing_, [&](Outgoing& message) {
    if (message.read_at >= clock) return false;
    message.pending.wait();
    return true;
  });
}

}  // namespace lexel::parallel
