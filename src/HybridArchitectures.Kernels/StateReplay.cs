using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// Returns the states of rows to the middle of a pass over a few tokens. It keeps the states before the pass and the inputs of its tokens, and
/// processes the tokens to keep again, from the states before. Or it keeps the states after each token, if the pass computed each as a new tensor.
/// </summary>
sealed class StateReplay : IDisposable
{
    readonly Tensor[] saved, parameters;
    readonly Action<Tensor, Tensor> run;

    /// <summary>Creates a replay.</summary>
    /// <param name="saved">The states before the pass and the inputs of its tokens. The replay owns them.</param>
    /// <param name="parameters">Aliases of parameters. The replay owns them.</param>
    /// <param name="run">Computes the states from the counts, as <see cref="Run"/> does.</param>
    public StateReplay(IEnumerable<Tensor?> saved, IEnumerable<Tensor?> parameters, Action<Tensor, Tensor> run)
    {
        this.saved = Own(saved);
        this.parameters = Own(parameters);
        this.run = run;
    }

    /// <summary>Creates a replay from the states after each token of a pass except the last, which it owns.</summary>
    public static StateReplay FromStates(Tensor[] states) => new(states, [], (state, counts) =>
    {
        var values = TensorMemory.ToArray<long>(counts);
        for (int row = 0; row < values.Length; row++) CopyRow(states, state, row, values[row]);
    }) { States = states };

    static Tensor[] Own(IEnumerable<Tensor?> tensors) => [.. tensors.OfType<Tensor>().Select(tensor => tensor.DetachFromDisposeScope())];

    /// <summary>Gets whether <see cref="Run"/> reads the counts on the device alone, so that a graph can contain it. The default is false.</summary>
    public bool RunsOnDevice { get; init; }

    /// <summary>Gets the states after each token except the last; null if they are computed again.</summary>
    public IReadOnlyList<Tensor>? States { get; private init; }

    /// <summary>Gets the size in bytes of the states before the pass and of the inputs, or of the states after the tokens.</summary>
    public long Bytes => saved.Sum(tensor => tensor.NumberOfElements * tensor.ElementSize);

    /// <summary>Sets the state of each row to that after its first tokens.</summary>
    /// <param name="state">The state after the pass, batch first.</param>
    /// <param name="counts">
    /// The number of tokens to keep, at least 1, shape (batch), int64, on the device of the state. Rows that keep all are left as they are.
    /// </param>
    public void Run(Tensor state, Tensor counts)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        run(state, counts);
    }

    /// <summary>Sets a row of the state to that after its first tokens, from the states after each token except the last.</summary>
    public static void CopyRow(IReadOnlyList<Tensor> states, Tensor state, int row, long count)
    {
        if (count <= states.Count) state.select(0, row).copy_(states[(int)count - 1].select(0, row));
    }

    /// <summary>Processes the tokens to keep again, with steps of all rows: results of libtorch depend on the number of rows.</summary>
    /// <param name="state">The state after the pass, batch first.</param>
    /// <param name="before">The state before the pass.</param>
    /// <param name="counts">The number of tokens to keep of each row.</param>
    /// <param name="length">The number of tokens of the pass.</param>
    /// <param name="step">Updates a state of all rows with a token.</param>
    public static void Steps(Tensor state, Tensor before, Tensor counts, long length, Action<Tensor, int> step)
    {
        var values = TensorMemory.ToArray<long>(counts);
        var current = before.clone();
        for (int token = 0; token < length - 1; token++)
        {
            if (values.All(count => count == length || count <= token)) return;
            step(current, token);
            for (int row = 0; row < values.Length; row++)
                if (values[row] == token + 1) state.select(0, row).copy_(current.select(0, row));
        }
    }

    public void Dispose()
    {
        foreach (var tensor in saved) tensor.Dispose();
        foreach (var tensor in parameters) tensor.Dispose();
    }
}
