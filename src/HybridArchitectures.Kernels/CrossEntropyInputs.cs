using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>Contains the inputs of linear cross entropy, with the shapes of <see cref="Operators.LinearCrossEntropy.Forward"/>.</summary>
sealed record CrossEntropyInputs(Tensor Hidden, Tensor Weight, Tensor? Bias, Tensor Targets, Tensor? TokenWeights, CrossEntropyOptions Options)
    : ISavedTensors<CrossEntropyInputs>
{
    public long Tokens => Hidden.size(0);

    public long Classes => Weight.size(0);

    public CrossEntropyInputs Map(Func<Tensor?, Tensor?> replace) =>
        new(replace(Hidden)!, replace(Weight)!, replace(Bias), replace(Targets)!, replace(TokenWeights), Options);
}
