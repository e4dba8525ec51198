using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// Contains the inputs of the selective scan, of whole rows or of one token per row, with the shapes of
/// <see cref="Operators.SelectiveScan.Forward"/> and <see cref="Operators.SelectiveScan.Step"/>. The same names are used for the gradients.
/// </summary>
sealed record SelectiveScanInputs(Tensor X, Tensor Dt, Tensor A, Tensor B, Tensor C) : ISavedTensors<SelectiveScanInputs>
{
    /// <summary>Gets the weight of x in the output, shape (channels).</summary>
    public Tensor? D { get; init; }

    /// <summary>Gets the gate, with the shape of x.</summary>
    public Tensor? Z { get; init; }

    /// <summary>Gets the bias of the time steps, shape (channels).</summary>
    public Tensor? DtBias { get; init; }

    /// <summary>Gets whether dt is the softplus of the biased time step.</summary>
    public bool Softplus { get; init; }

    public Tensor? InitialState { get; init; }

    public SequenceLayout? Layout { get; init; }

    /// <summary>Gets the tensors in which the operator is differentiable.</summary>
    public Tensor?[] Differentiable => [X, Dt, A, B, C, D, Z, DtBias, InitialState];

    public long Batch => X.size(0);

    public long Length => X.size(1);

    public long Channels => X.size(-1);

    public long StateSize => A.size(1);

    /// <summary>Gets the number of groups of channels that share B and C.</summary>
    public long Groups => B.size(-2);

    public SelectiveScanInputs Map(Func<Tensor?, Tensor?> replace) => new(replace(X)!, replace(Dt)!, replace(A)!, replace(B)!, replace(C)!)
    {
        D = replace(D), Z = replace(Z), DtBias = replace(DtBias), Softplus = Softplus, InitialState = replace(InitialState),
    };

    /// <summary>Returns the inputs of some sequences of a step.</summary>
    public SelectiveScanInputs SelectRows(Tensor rows) => this with
    {
        X = X.index_select(0, rows), Dt = Dt.index_select(0, rows), B = B.index_select(0, rows), C = C.index_select(0, rows),
        Z = Z?.index_select(0, rows),
    };

    /// <summary>Returns the inputs of one token of whole rows.</summary>
    public SelectiveScanInputs Token(long token) => this with
    {
        X = X.select(1, token), Dt = Dt.select(1, token), B = B.select(1, token), C = C.select(1, token), Z = Z?.select(1, token),
    };

    /// <summary>Returns the inputs of a step as rows of one token.</summary>
    public SelectiveScanInputs AsRows(Tensor state) => this with
    {
        X = X.unsqueeze(1), Dt = Dt.unsqueeze(1), B = B.unsqueeze(1), C = C.unsqueeze(1), Z = Z?.unsqueeze(1), InitialState = state,
    };

    /// <summary>Returns the inputs with the dimension of groups, which callers can omit if there is one group.</summary>
    public SelectiveScanInputs WithGroups() =>
        B.dim() > X.dim() ? this : this with { B = B.unsqueeze(-2), C = C.unsqueeze(-2) };

    /// <summary>Checks the inputs of whole rows. Exceptions name the argument.</summary>
    public void CheckRows()
    {
        SequenceChecks.Activations(X, "x", "(batch, length, channels)", 3);
        Check("(batch, length, channels)", "(batch, length, [groups,] states)", Batch, Length);
        SequenceChecks.State(InitialState, "initialState", X, "(batch, channels, states)", Batch, Channels, StateSize);
        SequenceChecks.Layout(Layout, X);
    }

    /// <summary>Checks the inputs of one token per row. Exceptions name the argument.</summary>
    public void CheckToken()
    {
        SequenceChecks.Activations(X, "x", "(batch, channels)", 2);
        Check("(batch, channels)", "(batch, [groups,] states)", Batch);
    }

    void Check(string shapeOfX, string shapeOfB, params ReadOnlySpan<long> outer)
    {
        SequenceChecks.Input(Dt, "dt", X, shapeOfX, [.. outer, Channels]);
        if (Z is not null) SequenceChecks.Input(Z, "z", X, shapeOfX, [.. outer, Channels]);
        Require.Alive(A);
        if (A.dim() != 2 || A.size(0) != Channels || A.size(1) == 0)
            throw Require.Unfit(nameof(A), $"A has shape {Checks.Describe(A)}", $"(channels, states) = ({Channels}, at least 1)");
        SequenceChecks.State(A, nameof(A), X, "(channels, states)", Channels, StateSize);
        if (D is not null) SequenceChecks.Input(D, nameof(D), X, "(channels)", Channels);
        if (DtBias is not null) SequenceChecks.Input(DtBias, "dtBias", X, "(channels)", Channels);
        long groups = CheckGroups(B, nameof(B), shapeOfB, outer);
        if (CheckGroups(C, nameof(C), shapeOfB, outer) != groups || C.dim() != B.dim())
            throw Require.Unfit(nameof(C), $"C has shape {Checks.Describe(C)}", $"that of B, {Checks.Describe(B)}");
    }

    // checks (outer..., [groups,] states) and returns the number of groups
    long CheckGroups(Tensor tensor, string name, string meaning, ReadOnlySpan<long> outer)
    {
        Require.Alive(tensor, name);
        bool grouped = tensor.dim() == outer.Length + 2;
        long groups = grouped ? SequenceChecks.Groups(tensor.size(outer.Length), Channels, name, "channels") : 1;
        SequenceChecks.Input(tensor, name, X, meaning, grouped ? [.. outer, groups, StateSize] : [.. outer, StateSize]);
        return groups;
    }
}
