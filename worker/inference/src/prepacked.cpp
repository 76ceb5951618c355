// Operators of libtorch that its generated bindings leave out: convolutions and matrix products whose weights oneDNN has
// laid out beforehand. `prepacked.rs` is the only caller; a null pointer means an error, whose text follows.

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <exception>
#include <string>

namespace {

thread_local std::string error;

at::Tensor call(const char* name, torch::jit::Stack stack) {
  const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(name, "");
  op.callBoxed(&stack);
  return stack.at(0).toTensor();
}

// The operators' list of numbers for what is computed afterwards: nothing is.
c10::IValue no_scalars() {
  return c10::impl::GenericList(c10::OptionalType::create(c10::NumberType::get()));
}

template <typename Body>
at::Tensor* guarded(Body body) {
  try {
    return new at::Tensor(body());
  } catch (const std::exception& caught) {
    error = caught.what();
    return nullptr;
  }
}

c10::IValue or_none(const at::Tensor* tensor) {
  return tensor == nullptr ? c10::IValue() : c10::IValue(*tensor);
}

c10::IValue two(int64_t value) { return std::vector<int64_t>{value, value}; }

}  // namespace

extern "C" {

const char* emc_prepacked_error() { return error.c_str(); }

// Weights of a convolution, as is best for inputs of this shape.
at::Tensor* emc_pack_convolution(const at::Tensor* weight, int64_t stride, int64_t padding, const int64_t* shape) {
  return guarded([&] {
    const std::vector<int64_t> input(shape, shape + 4);
    return call("aten::mkldnn_reorder_conv2d_weight",
                {weight->to_mkldnn(), two(padding), two(stride), two(1), int64_t{1}, input});
  });
}

at::Tensor* emc_packed_convolution(const at::Tensor* input, const at::Tensor* packed, const at::Tensor* bias,
                                   int64_t stride, int64_t padding) {
  return guarded([&] {
    return call("mkldnn::_convolution_pointwise",
                {*input, *packed, or_none(bias), two(padding), two(stride), two(1), int64_t{1}, std::string("none"),
                 no_scalars(), std::string()});
  });
}

// Weights of a matrix product, as is best for so many rows of input.
at::Tensor* emc_pack_linear(const at::Tensor* weight, int64_t rows) {
  return guarded([&] { return call("mkldnn::_reorder_linear_weight", {*weight, rows}); });
}

at::Tensor* emc_packed_linear(const at::Tensor* input, const at::Tensor* packed, const at::Tensor* bias) {
  return guarded([&] {
    return call("mkldnn::_linear_pointwise",
                {*input, *packed, or_none(bias), std::string("none"), no_scalars(), std::string()});
  });
}

}  // extern "C"
