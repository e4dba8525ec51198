using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Evaluation.Inside;

/// <summary>
/// Contains the time steps of the heads of one layer at every token of a text. The state is S_t = exp(dt_t A) S_(t-1) + dt_t B_t x_t (arXiv
/// 2405.21060, section 2; arXiv 2312.00752, section 3.2), so the input of token j has the weight exp(A (dt_(j+1) + ... + dt_t)) in S_t.
/// </summary>
sealed class DecayHistory
{
    readonly int[] channels;
    readonly double[] slowest;
    readonly List<float>[] steps;

    /// <summary>Creates the history of a layer.</summary>
    /// <param name="rates">A, (heads) or (channels, state size). Of several elements of a state, the slowest counts.</param>
    /// <param name="maxHeads">The maximum number of heads to follow.</param>
    public DecayHistory(Tensor rates, int maxHeads)
    {
        using var scope = NewDisposeScope();
        var slow = rates.neg().to(ScalarType.Float64);
        if (slow.dim() == 2) slow = slow.amin([1]);
        double[] all = TensorMemory.ToArray<double>(slow.cpu().contiguous());
        int count = Math.Min(all.Length, maxHeads);
        channels = [.. Enumerable.Range(0, count).Select(i => (int)((long)i * all.Length / count))];
        slowest = [.. channels.Select(channel => all[channel])];
        steps = [.. channels.Select(_ => new List<float>())];
    }

    /// <summary>Appends the time steps of a pass, (1, length, heads or channels).</summary>
    public void Append(Tensor more)
    {
        using var scope = NewDisposeScope();
        var chosen = more[0].index_select(1, Indices.From(channels.Select(channel => (long)channel), more.device)).t();
        int length = (int)more.size(1);
        float[] values = TensorMemory.ToArray<float>(chosen.to(ScalarType.Float32).cpu().contiguous());
        for (int i = 0; i < channels.Length; i++) steps[i].AddRange(values.AsSpan(i * length, length));
    }

    /// <summary>Gets the number of heads that are followed.</summary>
    public int Heads => channels.Length;

    /// <summary>
    /// Returns the memory of a head at some positions: the maximum number of tokens k such that the input of token t - k keeps at least a share of
    /// its weight in the state after token t.
    /// </summary>
    /// <param name="head">The head, from 0.</param>
    /// <param name="positions">The positions t.</param>
    /// <param name="threshold">The share, in (0, 1).</param>
    /// <returns>The mean number of tokens, and how many of the memories reach the first token.</returns>
    public (double Mean, int Whole) Measure(int head, IReadOnlyList<int> positions, double threshold)
    {
        double budget = -Math.Log(threshold) / slowest[head], sum = 0;
        var total = new double[steps[head].Count];
        for (int i = 0; i < total.Length; i++) total[i] = (i == 0 ? 0 : total[i - 1]) + steps[head][i];
        int whole = 0;
        foreach (int at in positions)
        {
            int oldest = Oldest(total, at, total[at] - budget);
            if (oldest == 0) whole++;
            sum += at - oldest;
        }
        return (sum / positions.Count, whole);
    }

    // the first token whose total is at least a number; totals do not decrease
    static int Oldest(double[] total, int at, double minTotal)
    {
        int low = 0, high = at;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (total[middle] >= minTotal) high = middle;
            else low = middle + 1;
        }
        return low;
    }
}
