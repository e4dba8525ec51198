namespace HybridArchitectures.Evaluation.Inside;

/// <summary>
/// Contains the effective memory of the recurrent states of one layer: how many tokens ago an input can be and still keep a share of its weight.
/// </summary>
/// <param name="Block">The block, from 1.</param>
/// <param name="Tokens">
/// The mean memory of each measured head, or channel of Mamba-1, in tokens. It is at most the length of the text; see
/// <paramref name="WholeTextShare"/>.
/// </param>
/// <param name="WholeTextShare">The share of heads and positions whose memory reaches back to the first token, so that it can be longer.</param>
public sealed record StateMemory(int Block, IReadOnlyList<double> Tokens, double WholeTextShare)
{
    /// <summary>Returns a quantile over heads, in tokens.</summary>
    /// <param name="share">0 for the shortest memory, 0.5 for the median, 1 for the longest.</param>
    public double Quantile(double share)
    {
        Require.InRange(share is >= 0 and <= 1, nameof(share), share, "0 to 1");
        double[] sorted = [.. Tokens.Order()];
        double rank = share * (sorted.Length - 1);
        int below = (int)rank, above = Math.Min(below + 1, sorted.Length - 1);
        return sorted[below] + (rank - below) * (sorted[above] - sorted[below]);
    }
}
