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

    /// <summary>Returns the inputs for a back end.</summary>
    public CrossEntropyInputs On(KernelBackend backend) => this with { Options = Options with { Backend = backend } };

    /// <summary>Checks the inputs. Exceptions name the argument.</summary>
    public void Check()
    {
        Checks.Floating(Hidden, "hidden");
        Checks.Shape(Hidden, [-1, -1], "(tokens, width)", "hidden");
        Checks.Shape(Weight, [-1, Hidden.size(1)], "(vocabulary, width), width as in hidden", "weight");
        Checks.Shape(Targets, [Tokens], "one target per token of hidden", "targets");
        Checks.Type(Targets, ScalarType.Int64, "targets");
        CheckParameter(Weight, "weight");
        Checks.SameDevice(Targets, Hidden, "hidden", "targets");
        if (Classes < 1) throw Require.Unfit("weight", $"weight has shape {Checks.Describe(Weight)}", "a vocabulary of at least 1");
        if (Bias is not null)
        {
            Checks.Shape(Bias, [Classes], "one number per class of weight", "bias");
            CheckParameter(Bias, "bias");
        }
        Require.InRange(double.IsFinite(Options.LogitScale), "logitScale", Options.LogitScale, "a finite number");
        if (Options.LogitCap is { } cap) Require.Positive(cap, "logitCap");
        CheckTargets();
        if (TokenWeights is not null) CheckTokenWeights(TokenWeights);
        Require.InRange(Options.LabelSmoothing is >= 0 and < 1, "labelSmoothing", Options.LabelSmoothing, "a number in [0, 1)");
        Require.NotNegative(Options.ZLoss, "zLoss");
    }

    void CheckParameter(Tensor parameter, string name)
    {
        Checks.ParameterType(parameter, Hidden, "hidden", name);
        Checks.SameDevice(parameter, Hidden, "hidden", name);
    }

    void CheckTargets()
    {
        // on CUDA, reading the targets would stall the device; a target out of range makes the loss NaN there
        if (Targets.device_type != TorchSharp.DeviceType.CPU) return;
        using var scope = NewDisposeScope();
        var (values, index) = (Targets.contiguous(), 0L);
        foreach (long target in TensorMemory.Span<long>(values))
        {
            if (target != Options.IgnoreIndex && (target < 0 || target >= Classes))
                throw Require.OutOfRange($"targets[{index}]", target, $"a class in [0, {Classes}) or ignoreIndex, {Options.IgnoreIndex}");
            index++;
        }
        GC.KeepAlive(values);
    }

    void CheckTokenWeights(Tensor tokenWeights)
    {
        Checks.Shape(tokenWeights, [Tokens], "one weight per token of hidden", "tokenWeights");
        Checks.Type(tokenWeights, ScalarType.Float32, "tokenWeights");
        Checks.SameDevice(tokenWeights, Hidden, "hidden", "tokenWeights");
        if (tokenWeights.device_type != TorchSharp.DeviceType.CPU) return;
        using var scope = NewDisposeScope();
        var values = tokenWeights.contiguous();
        foreach (float value in TensorMemory.Span<float>(values))
            if (!(value >= 0) || !float.IsFinite(value)) throw Require.Holding("tokenWeights", value, "finite numbers of at least 0");
        GC.KeepAlive(values);
    }
}
