using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>Contains the inputs of an RMS norm, plain or gated.</summary>
/// <param name="X">The input, shape (..., width).</param>
/// <param name="Gate">The gate, with the shape of <paramref name="X"/>. Null means none.</param>
/// <param name="Weight">The weight, shape (width). Null means none.</param>
/// <param name="Epsilon">The number added to the mean square.</param>
/// <param name="Groups">The number of equal groups of channels that are normalized separately.</param>
/// <param name="NormFirst">Whether the gate multiplies the normalized value instead of the input of the norm.</param>
sealed record NormInputs(Tensor X, Tensor? Gate, Tensor? Weight, double Epsilon, int Groups, bool NormFirst) : ISavedTensors<NormInputs>
{
    public NormInputs Map(Func<Tensor?, Tensor?> replace) => this with { X = replace(X)!, Gate = replace(Gate), Weight = replace(Weight) };
}
