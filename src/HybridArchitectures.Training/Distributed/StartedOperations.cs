using static TorchSharp.torch;

namespace HybridArchitectures.Training.Distributed;

/// <summary>Represents operations that were started and that may not be complete.</summary>
/// <param name="complete">Waits for them. Null if they are complete.</param>
sealed class StartedOperations(Action? complete)
{
    /// <summary>
    /// Waits until the tensors of the operations can be used: on the CPU by this thread, and on a GPU by the current stream. A second call does
    /// nothing.
    /// </summary>
    public void Wait()
    {
        var waiting = complete;
        complete = null;
        if (waiting is null) return;
        using var noGrad = no_grad();
        waiting();
    }
}
