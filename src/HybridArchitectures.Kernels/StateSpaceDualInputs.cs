using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// Contains the inputs of the state-space dual, of whole rows or of one token per row, with the shapes of
/// <see cref="Operators.StateSpaceDual.Forward"/> and <see cref="Operators.StateSpaceDual.Step"/>. The same names are used for the gradients.
/// </summary>
sealed record StateSpaceDualInputs(Tensor X, Tensor Dt, Tensor A, Tensor B, Tensor C) : ISavedTensors<StateSpaceDualInputs>
{
    /// <summary>Gets the weight of x in the output, shape (heads).</summary>
    public Tensor? D { get; init; }

    /// <summary>Gets the bias of the time steps, shape (heads).</summary>
    public Tensor? DtBias { get; init; }

    /// <summary>Gets whether dt is the softplus of the biased time step.</summary>
    public bool Softplus { get; init; }

    /// <summary>Gets the range to which dt is clamped after the softplus.</summary>
    public (double Minimum, double Maximum)? DtLimit { get; init; }

    public Tensor? InitialState { get; init; }

    public SequenceLayout? Layout { get; init; }

    /// <summary>Gets the requested number of tokens per chunk. CUDA kernels choose it themselves.</summary>
    public int ChunkSize { get; init; } = 64;

    /// <summary>Gets the places of the gradients of inputs that are slices.</summary>
    public StateSpaceDualPlaces Places { get; init; }

    /// <summary>Gets the tensors in which the operator is differentiable.</summary>
    public Tensor?[] Differentiable => [X, Dt, A, B, C, D, DtBias, InitialState];

    public long Batch => X.size(0);

    public long Length => X.size(1);

    public long Heads => X.size(-2);

    public long HeadSize => X.size(-1);

    /// <summary>Gets the number of groups of heads that share B and C.</summary>
    public long Groups => B.size(-2);

    public long StateSize => B.size(-1);

    public StateSpaceDualInputs Map(Func<Tensor?, Tensor?> replace) => new(replace(X)!, replace(Dt)!, replace(A)!, replace(B)!, replace(C)!)
    {
        D = replace(D), DtBias = replace(DtBias), Softplus = Softplus, DtLimit = DtLimit, InitialState = replace(InitialState),
        ChunkSize = ChunkSize, Places = Places,
    };

    /// <summary>Returns the inputs of some sequences of a step.</summary>
    public StateSpaceDualInputs SelectRows(Tensor rows) => this with
    {
        X = X.index_select(0, rows), Dt = Dt.index_select(0, rows), B = B.index_select(0, rows), C = C.index_select(0, rows),
    };

    /// <summary>Returns the inputs of one token of whole rows.</summary>
    public StateSpaceDualInputs Token(long token) => this with
    {
        X = X.select(1, token), Dt = Dt.select(1, token), B = B.select(1, token), C = C.select(1, token),
    };

    /// <summary>Returns the inputs of a step as rows of one token.</summary>
    public StateSpaceDualInputs AsRows(Tensor state) => this with
    {
        X = X.unsqueeze(1), Dt = Dt.unsqueeze(1), B = B.unsqueeze(1), C = C.unsqueeze(1), InitialState = state,
    };

    /// <summary>Checks the inputs of whole rows. Exceptions name the argument.</summary>
    public void CheckRows()
    {
        SequenceChecks.Activations(X, "x", "(batch, length, heads, head size)", 4);
        Check("(batch, length, heads)", "(batch, length, groups, states)", Batch, Length);
        SequenceChecks.State(InitialState, "initialState", X, "(batch, heads, head size, states)", Batch, Heads, HeadSize, StateSize);
        SequenceChecks.Layout(Layout, X);
        Require.PowerOfTwo(ChunkSize, "chunkSize");
    }

    /// <summary>Checks the inputs of one token per row. Exceptions name the argument.</summary>
    public void CheckToken()
    {
        SequenceChecks.Activations(X, "x", "(batch, heads, head size)", 3);
        Check("(batch, heads)", "(batch, groups, states)", Batch);
    }

    void Check(string shapeOfDt, string shapeOfB, params ReadOnlySpan<long> outer)
    {
        SequenceChecks.Input(Dt, "dt", X, shapeOfDt, [.. outer, Heads]);
        Require.Alive(A);
        SequenceChecks.State(A, nameof(A), X, "(heads)", Heads);
        if (D is not null) SequenceChecks.Input(D, nameof(D), X, "(heads)", Heads);
        if (DtBias is not null) SequenceChecks.Input(DtBias, "dtBias", X, "(heads)", Heads);
        if (DtLimit is { } range && !(range.Minimum >= 0 && range.Minimum <= range.Maximum))
            throw Require.OutOfRange("dtLimit", range, "0 <= minimum <= maximum");
        Require.Alive(B);
        if (B.dim() != outer.Length + 2 || StateSize == 0)
            throw Require.Unfit(nameof(B), $"B has shape {Checks.Describe(B)}", shapeOfB);
        long groups = SequenceChecks.Groups(Groups, Heads, nameof(B), "heads");
        SequenceChecks.Input(B, nameof(B), X, shapeOfB, [.. outer, groups, StateSize]);
        SequenceChecks.Input(C, nameof(C), X, shapeOfB, [.. outer, groups, StateSize]);
    }
}
