using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// Contains the inputs of the causal convolution, of whole rows or of one token per row, with the shapes of
/// <see cref="Operators.CausalConvolution.Forward"/> and <see cref="Operators.CausalConvolution.Step"/>. The same names are used for the gradients.
/// </summary>
sealed record CausalConvolutionInputs(Tensor X, Tensor Weight, Tensor? Bias) : ISavedTensors<CausalConvolutionInputs>
{
    /// <summary>Gets whether SiLU is applied to the sum.</summary>
    public bool Silu { get; init; }

    public Tensor? InitialState { get; init; }

    public SequenceLayout? Layout { get; init; }

    /// <summary>Gets the place of the gradient of x if it is a slice; null for separate memory.</summary>
    public GradientSlice? XGradient { get; init; }

    /// <summary>Gets the tensors in which the operator is differentiable.</summary>
    public Tensor?[] Differentiable => [X, Weight, Bias, InitialState];

    public long Batch => X.size(0);

    public long Length => X.size(1);

    public long Channels => X.size(-1);

    /// <summary>Gets the number of tokens that the filter covers.</summary>
    public long Width => Weight.size(1);

    public CausalConvolutionInputs Map(Func<Tensor?, Tensor?> replace) => new(replace(X)!, replace(Weight)!, replace(Bias))
    {
        Silu = Silu, InitialState = replace(InitialState), XGradient = XGradient,
    };

    /// <summary>Checks the inputs of whole rows. Exceptions name the argument.</summary>
    public void CheckRows()
    {
        SequenceChecks.Activations(X, "x", "(batch, length, channels)", 3);
        CheckParameters();
        if (InitialState is not null) CheckState(InitialState, "initialState", Batch);
        SequenceChecks.Layout(Layout, X);
    }

    /// <summary>Checks the inputs of one token per row. Exceptions name the argument.</summary>
    public void CheckToken()
    {
        SequenceChecks.Activations(X, "x", "(batch, channels)", 2);
        CheckParameters();
    }

    void CheckParameters()
    {
        Require.Alive(Weight, "weight");
        if (Weight.dim() != 2 || Width == 0)
            throw Require.Unfit("weight", $"weight has shape {Checks.Describe(Weight)}", $"(channels, width) = ({Channels}, at least 1)");
        SequenceChecks.Input(Weight, "weight", X, "(channels, width)", Channels, Width);
        if (Bias is not null) SequenceChecks.Input(Bias, "bias", X, "(channels)", Channels);
    }

    /// <summary>Checks the shape, device and dtype of a state.</summary>
    public void CheckState(Tensor state, string name, long rows)
    {
        SequenceChecks.Input(state, name, X, "(batch or slots, width - 1, channels)", rows, Width - 1, Channels);
        if (state.dtype != X.dtype) throw Require.Refusal(name, state.dtype, $"{X.dtype}, the type of x");
    }
}
