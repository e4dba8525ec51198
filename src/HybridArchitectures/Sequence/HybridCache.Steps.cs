using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Sequence;

/// <summary>
/// Contains the data of decoding steps on the device: lengths and rotary tables. On a GPU, a step then needs no number from the host.
/// </summary>
public sealed partial class HybridCache
{
    const long MinTable = 1024;

    readonly Dictionary<(RotarySpec Spec, int HeadSize), (Tensor Cosine, Tensor Sine)> tables = [];
    readonly Dictionary<int, AttentionDecodeWorkspace> workspaces = [];
    Tensor? stepLengths, one;
    DeviceUpload? lengthsUpload;
    bool areCurrent;                // whether stepLengths are the lengths

    /// <summary>
    /// Gets or sets whether passes over one token read lengths and positions from the device, and use the operators for decoding. The default is
    /// true.
    /// </summary>
    internal bool StepsOnDevice { get; set; } = true;

    /// <summary>
    /// Gets or sets whether steps of one token per row of <see cref="Models.LanguageModel.NextLogits"/> run as a CUDA graph after the first ones, on
    /// a GPU and for models without custom mixers and adapters. The default value is true. Logits do not depend on it.
    /// </summary>
    public bool CudaGraphs { get; set; } = true;

    /// <summary>Gets or sets the number of passes over one token per row that a graph could have computed.</summary>
    internal int SingleSteps { get; set; }

    /// <summary>Gets or sets what computes steps as a graph, or null. The cache owns it.</summary>
    internal IDisposable? NextStep { get; set; }

    /// <summary>Gets or sets whether the model's steps cannot be captured.</summary>
    internal bool RefusesGraphs { get; set; }

    /// <summary>Gets a number that changes when memory that steps use, other than that of states, is replaced.</summary>
    internal int Epoch { get; private set; }

    /// <summary>
    /// Begins a step over <paramref name="length"/> tokens per row and returns the lengths including them, (batch) int32 on the device.
    /// </summary>
    internal Tensor BeginStep(long length, Device device)
    {
        using var noGrad = no_grad();
        if (stepLengths is null)
        {
            stepLengths = zeros([Batch], ScalarType.Int32, device).DetachFromDisposeScope();
            one = ones([], ScalarType.Int32, device).DetachFromDisposeScope();
            Epoch++;
        }
        Upload();
        areCurrent = false;
        stepLengths.add_(one!, Scalars.From(length));
        return stepLengths;
    }

    /// <summary>Copies the lengths of the host to the device, after a prompt or a rewind.</summary>
    internal void Upload()
    {
        if (areCurrent || stepLengths is null) return;
        using var noGrad = no_grad();
        int[] values = Array.ConvertAll(lengths, value => checked((int)value));
        if (stepLengths.device_type == TorchSharp.DeviceType.CUDA) (lengthsUpload ??= new(stepLengths)).Copy<int>(values, stepLengths);
        else
        {
            using var upload = tensor(values, ScalarType.Int32);
            stepLengths.copy_(upload);
        }
        areCurrent = true;
    }

    /// <summary>Counts the tokens per row that a captured step has added on the device.</summary>
    internal void CountStep(int tokens)
    {
        for (int row = 0; row < lengths.Length; row++) lengths[row] += tokens;
    }

    /// <summary>Returns cosines and sines of positions from 0, (positions, half) each, for at least <paramref name="length"/> positions.</summary>
    internal (Tensor Cosine, Tensor Sine) StepTable(RotarySpec spec, int headSize, long length, Device device)
    {
        if (tables.TryGetValue((spec, headSize), out var table) && table.Cosine.size(0) >= length) return table;
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        long positions = Math.Max(MinTable, Math.Max(length, 2 * (table.Cosine?.size(0) ?? 0)));
        var (cosine, sine) = RotaryTables.OfGrowingRows(spec, headSize, positions, device);
        table.Cosine?.Dispose();
        table.Sine?.Dispose();
        Epoch++;
        return tables[(spec, headSize)] = (cosine.contiguous().DetachFromDisposeScope(), sine.contiguous().DetachFromDisposeScope());
    }

    /// <summary>
    /// Returns the counters of attention with a number of query heads. The layers of the cache share them: its steps follow each other.
    /// </summary>
    internal AttentionDecodeWorkspace StepWorkspace(int heads, Device device)
    {
        if (workspaces.TryGetValue(heads, out var workspace)) return workspace;
        Epoch++;
        return workspaces[heads] = new AttentionDecodeWorkspace(Batch, heads, device);
    }

    /// <summary>Reserves memory for rows of <paramref name="length"/> tokens, so that steps up to that length replace no memory.</summary>
    internal void Reserve(long length)
    {
        foreach (var state in States)
        {
            state?.Reserve(length);
            state?.TakeOwnership();
        }
        foreach (var ((spec, headSize), table) in tables.ToArray()) StepTable(spec, headSize, length, table.Cosine.device);
    }

    /// <summary>Removes all tokens of all rows, and keeps the memory. Snapshots become void.</summary>
    internal void Clear()
    {
        using var noGrad = no_grad();
        foreach (var state in States) state?.Clear();
        Array.Clear(lengths);
        snapshots.Clear();
        areCurrent = false;
    }

    /// <summary>
    /// After a stepwise pass that ran directly, keeps the first tokens of each row, at least one, and removes the other tokens of the pass. The
    /// copies of the pass are disposed.
    /// </summary>
    /// <param name="counts">The number of tokens to keep per row.</param>
    /// <param name="length">The number of tokens of the pass.</param>
    internal void KeepTokens(IReadOnlyList<int> counts, int length)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        if (counts.All(count => count == length))
        {
            foreach (var copies in TakeCopies()) copies?.Dispose();
            return;
        }
        var onDevice = tensor(counts.Select(count => (long)count).ToArray(), device: Device);
        foreach (var part in Parts) part.KeepTokens(counts, onDevice);
        RemoveTokens(counts, length);
    }

    /// <summary>Does the same after a pass that was launched as a graph, which writes its copies again whenever it is launched.</summary>
    /// <param name="counts">The number of tokens to keep per row.</param>
    /// <param name="length">The number of tokens of the pass.</param>
    /// <param name="copies">The copies of the pass, from <see cref="TakeCopies"/> after its capture.</param>
    /// <param name="replay">Does <see cref="Replay"/> with these copies. It is called if tokens are removed.</param>
    internal void KeepTokens(IReadOnlyList<int> counts, int length, IReadOnlyList<TokenCopies?> copies, Action replay)
    {
        if (counts.All(count => count == length)) return;
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        foreach (var (part, own) in Parts.Zip(copies)) own?.Restore(part.Tensors, counts);
        replay();
        RemoveTokens(counts, length);
    }

    /// <summary>Computes the states with replays again, for the tokens of a pass to keep.</summary>
    /// <param name="copies">The copies of the pass.</param>
    /// <param name="counts">The number of tokens to keep per row, (batch) int64 on the device.</param>
    internal void Replay(IReadOnlyList<TokenCopies?> copies, Tensor counts)
    {
        foreach (var (part, own) in Parts.Zip(copies)) own?.Replay(part.Tensors, counts);
    }

    void RemoveTokens(IReadOnlyList<int> counts, int length)
    {
        for (int row = 0; row < lengths.Length; row++) lengths[row] -= length - counts[row];
        areCurrent = false;
    }

    /// <summary>
    /// Returns the copies of states that a captured stepwise pass writes whenever it is launched, one per part of the states. The caller owns them.
    /// </summary>
    internal IReadOnlyList<TokenCopies?> TakeCopies() => [.. Parts.Select(part => part.TakeCopies())];

    /// <summary>Gets the size in bytes of the copies of the last stepwise pass.</summary>
    internal long CopyBytes => Parts.Sum(part => part.CopyBytes);

    Device Device => States.OfType<MixerState>().SelectMany(state => state.Tensors).FirstOrDefault()?.device ?? CPU;

    IEnumerable<MixerState> Parts => States.OfType<MixerState>().SelectMany(state => state.Parts);

    void DisposeSteps()
    {
        NextStep?.Dispose();
        NextStep = null;
        lengthsUpload?.Dispose();
        lengthsUpload = null;
        stepLengths?.Dispose();
        one?.Dispose();
        foreach (var (cosine, sine) in tables.Values)
        {
            cosine.Dispose();
            sine.Dispose();
        }
        foreach (var workspace in workspaces.Values) workspace.Dispose();
        tables.Clear();
        workspaces.Clear();
        stepLengths = null;
    }
}
