using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Cuda.GatedDelta;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Processes the few tokens of a pass of the gated delta rule, of that with a decay per key channel, or of linear attention.
/// </summary>
static class DeltaRuleSteps
{
    /// <summary>
    /// Processes the tokens one after another, without a gradient. Outputs and state are those of a step for each token. On a GPU, this is one
    /// kernel, and the replay processes tokens again.
    /// </summary>
    /// <param name="state">The state, shape (B, H, K, V). It is updated in place.</param>
    /// <param name="inputs">The inputs of whole rows, without an initial state and a layout.</param>
    /// <param name="backend">The selected back end.</param>
    /// <param name="reference">Computes rows from their initial state.</param>
    /// <returns>The output, shape (B, L, H, V), and what returns rows to earlier tokens, which the caller disposes.</returns>
    public static (Tensor Output, StateReplay Replay) Run(Tensor state, DeltaRuleInputs inputs, KernelBackend backend,
        Func<DeltaRuleInputs, (Tensor Output, Tensor FinalState)> reference)
    {
        SequenceChecks.StepState(state, nameof(state), inputs.Value, "(batch, heads, key size, value size)", inputs.Batch, inputs.Heads,
            inputs.KeySize, inputs.ValueSize);
        if (!GatedDeltaRule.StepsOnCuda(backend, inputs.Key, inputs.Value))
            return ReferenceStep.Several(state, inputs.Length, (token, before) =>
                reference(inputs.Map(tensor => tensor?.narrow(1, token, 1)) with { InitialState = before }));
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var own = inputs.Map(tensor => tensor?.alias());
        var first = CudaMemory.NewLike(state);
        var output = GatedDeltaStepCuda.Steps(state, first, inputs);
        return (output.MoveToOuterDisposeScope(), new StateReplay([first, own.Query, own.Key, own.Value, own.Decay, own.Strength], [],
            (states, counts) => GatedDeltaStepCuda.Replay(states, first, counts, own)) { RunsOnDevice = true });
    }
}
