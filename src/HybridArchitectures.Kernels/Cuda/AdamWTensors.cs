using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Contains the tensors of one parameter in a step of AdamW, contiguous, float32 unless stated, and of the same shape.</summary>
/// <param name="Value">The parameter.</param>
/// <param name="Gradient">Its gradient, float32 or bfloat16.</param>
/// <param name="First">The running mean of the gradient.</param>
/// <param name="Second">The running mean of the squared gradient.</param>
/// <param name="Copy">Receives the new weights in bfloat16. Null means no copy.</param>
readonly record struct AdamWTensors(Tensor Value, Tensor Gradient, Tensor First, Tensor Second, Tensor? Copy);
