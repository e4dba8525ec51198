using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.GatedDelta;

/// <summary>Contains the inputs of the gated delta rule, and the tensors of its layout.</summary>
readonly record struct GatedDeltaInputs(Tensor Query, Tensor Key, Tensor Value, Tensor Decay, Tensor Strength, Tensor? InitialState, Tensor? Starts,
    Tensor? Lengths)
{
    /// <summary>Gets the tensors, to save them for backward.</summary>
    public Tensor?[] Tensors => [Query, Key, Value, Decay, Strength, InitialState, Starts, Lengths];

    /// <summary>Returns the inputs from their saved <see cref="Tensors"/>.</summary>
    public static GatedDeltaInputs From(IReadOnlyList<Tensor?> saved) =>
        new(saved[0]!, saved[1]!, saved[2]!, saved[3]!, saved[4]!, saved[5], saved[6], saved[7]);

    /// <summary>Returns the inputs of some rows.</summary>
    public GatedDeltaInputs Rows(long first, long count) => first == 0 && count == Value.size(0) ? this
        : From([.. Tensors.Select(tensor => tensor?.narrow(0, first, count))]);
}

/// <summary>Contains the gradients of the inputs.</summary>
readonly record struct GatedDeltaGradients(Tensor Query, Tensor Key, Tensor Value, Tensor Decay, Tensor Strength, Tensor? InitialState)
{
    /// <summary>Returns the gradients of some rows.</summary>
    public GatedDeltaGradients Rows(long first, long count) => first == 0 && count == Value.size(0) ? this
        : new(Query.narrow(0, first, count), Key.narrow(0, first, count), Value.narrow(0, first, count), Decay.narrow(0, first, count),
            Strength.narrow(0, first, count), InitialState?.narrow(0, first, count));
}
