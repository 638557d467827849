#include "autoregressive/parallel/differentiable.h"

#include <torch/csrc/autograd/custom_function.h>
#include <utility>

#include "kernels/check.h"

namespace lexel::parallel {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

/// A group in a form that an autograd context keeps.
struct GroupHolder : torch::CustomClassHolder {
  GroupHolder(Group g, int64_t d) : group(std::move(g)), dim(d) {}
  Group group;
  int64_t dim;
};

at::Tensor own_part(const at::Tensor& x, int64_t dim, const Group& group) {
  const int64_t length = x.size(dim) / group.size();
  return x.narrow(dim, group.rank() * length, length).contiguous();
}

at::Tensor summed(const at::Tensor& x, Group& group) {
  at::Tensor sum = x.contiguous().clone();
  group.all_reduce(sum);
  return sum;
}

/// What a pair of passes does; `dim` is not negative.
struct Copy {
  static at::Tensor forward(const at::Tensor& x, int64_t, Group&) { return x.view_as(x); }
  static at::Tensor backward(const at::Tensor& x, int64_t, Group& group) {
    return summed(x, group);
  }
};

struct Sum {
  static at::Tensor forward(const at::Tensor& x, int64_t, Group& group) { return summed(x, group); }
  static at::Tensor backward(const at::Tensor& x, int64_t, Group&) { return x; }
};

struct Gather {
  static at::Tensor forward(const at::Tensor& x, int64_t dim, Group& group) {
    return group.all_gather(x, dim);
  }
  static at::Tensor backward(const at::Tensor& x, int64_t dim, Group& group) {
    return group.reduce_scatter(x, dim);
  }
};

struct GatherEqual {
  static at::Tensor forward(const at::Tensor& x, int64_t dim, Group& group) {
    return group.all_gather(x, dim);
  }
  static at::Tensor backward(const at::Tensor& x, int64_t dim, Group& group) {
    return own_part(x, dim, group);
  }
};

struct ScatterSum {
  static at::Tensor forward(const at::Tensor& x, int64_t dim, Group& group) {
    return group.reduce_scatter(x, dim);
  }
  static at::Tensor backward(const at::Tensor& x, int64_t dim, Group& group) {
    return group.all_gather(x, dim);
  }
};

struct Split {
  static at::Tensor forward(const at::Tensor& x, int64_t dim, Group& group) {
    return own_part(x, dim, group);
  }
  static at::Tensor backward(const at::Tensor& x, int64_t dim, Group& group) {
    return group.all_gather(x, dim);
  }
};

struct AllToAll {
  static at::Tensor forward(const at::Tensor& x, int64_t, Group& group) {
    return group.all_to_all(x);
  }
  static at::Tensor backward(const at::Tensor& x, int64_t, Group& group) {
    return group.all_to_all(x);
  }
};

template <class Pair>
struct CollectiveFunction : Function<CollectiveFunction<Pair>> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, int64_t dim,
                            const Group& group) {
    auto holder = c10::make_intrusive<GroupHolder>(group, dim);
    context->saved_data["group"] = c10::IValue::make_capsule(holder);
    return Pair::forward(x, dim, holder->group);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto holder =
        c10::static_intrusive_pointer_cast<GroupHolder>(context->saved_data["group"].toCapsule());
    return {Pair::backward(grads[0], holder->dim, holder->group), {}, {}};
  }
};

template <class Pair>
at::Tensor apply(const at::Tensor& x, int64_t dim, const Group& group) {
  if (group.size() == 1) return x;
  return CollectiveFunction<Pair>::apply(x, dim < 0 ? dim + x.dim() : dim, group);
}

void check_divides(const at::Tensor& x, int64_t dim, const Group& group, const char* function) {
  check_arg(dim >= -x.dim() && dim < x.dim() && x.size(dim) % group.size() == 0, function, "axis ",
            group.axis(), ": dimension ", dim, " of ", x.sizes(), " does not divide among ",
            group.size(), " ranks");
}

}  // namespace

at::Tensor copy(const at::Tensor& x, const Group& group) { return apply<Copy>(x, 0, group); }

at::Tensor reduce(const at::Tensor& x, const Group& group) { return apply<Sum>(x, 0, group); }

at::Tensor gather(const at::Tensor& x, int64_t dim, const Group& group) {
  return apply<Gather>(x, dim, group);
}

at::Tensor gather_equal(const at::Tensor& x, int64_t dim, const Group& group) {
  return apply<GatherEqual>(x, dim, group);
}

at::Tensor scatter_sum(const at::Tensor& x, int64_t dim, const Group& group) {
  check_divides(x, dim, group, "parallel::scatter_sum");
  return apply<ScatterSum>(x, dim, group);
}

at::Tensor split(const at::Tensor& x, int64_t dim, const Group& group) {
  check_divides(x, dim, group, "parallel::split");
  return apply<Split>(x, dim, group);
}

at::Tensor all_to_all(const at::Tensor& x, const Group& group) {
  check_divides(x, 0, group, "parallel::all_to_all");
  return apply<AllToAll>(x, 0, group);
}

}  // namespace lexel::parallel
