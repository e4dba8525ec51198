using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// Contains the inputs of the linear recurrence, of whole rows or of one token per row, with the shapes of
/// <see cref="Operators.LinearRecurrence.Forward"/> and <see cref="Operators.LinearRecurrence.Step"/>.
/// </summary>
sealed record LinearRecurrenceInputs(Tensor X, Tensor Decay)
{
    public Tensor? InitialState { get; init; }

    public SequenceLayout? Layout { get; init; }

    /// <summary>Checks the inputs of whole rows. Exceptions name the argument.</summary>
    public void CheckRows()
    {
        SequenceChecks.Activations(X, "x", "(batch, length, channels)", 3);
        SequenceChecks.Input(Decay, "decay", X, "(batch, length, channels)", X.size(0), X.size(1), X.size(2));
        SequenceChecks.State(InitialState, "initialState", X, "(batch, channels)", X.size(0), X.size(2));
        SequenceChecks.Layout(Layout, X);
    }

    /// <summary>Checks the inputs of one token per row, and the state. Exceptions name the argument.</summary>
    public void CheckToken(Tensor state)
    {
        SequenceChecks.Activations(X, "x", "(batch, channels)", 2);
        SequenceChecks.Input(Decay, "decay", X, "(batch, channels)", X.size(0), X.size(1));
        SequenceChecks.Updatable(state, nameof(state));
        SequenceChecks.State(state, nameof(state), X, "(batch, channels)", X.size(0), X.size(1));
    }
}
