namespace HybridArchitectures.Training.Data;

/// <summary>
/// Represents an n-gram model over bytes: it predicts the next byte from the last 0, 1 or 2 bytes. A language model must be better to have learned
/// more than letter statistics.
/// <para>
/// p(b | context) = (n(context b) + t(context) p(b | shorter context)) / (n(context) + t(context)), with n the number of occurrences and t the number
/// of different bytes after the context (Witten and Bell 1991, method C). The shortest context falls back to 1/256.
/// </para>
/// </summary>
public sealed class ByteModel
{
    readonly uint[][] counts;       // [order][context · 256 + byte]
    readonly uint[][] seen;         // [order][context]: n
    readonly ushort[][] kinds;      // [order][context]: t

    /// <summary>Counts a text.</summary>
    /// <param name="order">The number of preceding bytes that the model uses: 0, 1 or 2. Order 2 needs 80 MB.</param>
    /// <param name="text">The training text, up to 2^32 bytes.</param>
    public ByteModel(int order, ReadOnlySpan<byte> text)
    {
        Require.InRange(order is >= 0 and <= 2, nameof(order), order, "0, 1 or 2");
        if (text.IsEmpty) throw Require.Unfit(nameof(text), "text is empty", "at least 1 byte");
        Order = order;
        counts = new uint[order + 1][];
        seen = new uint[order + 1][];
        kinds = new ushort[order + 1][];
        for (int k = 0; k <= order; k++)
        {
            int contexts = 1 << 8 * k;
            counts[k] = new uint[contexts << 8];
            seen[k] = new uint[contexts];
            kinds[k] = new ushort[contexts];
            int context = 0;
            foreach (byte b in text)
            {
                if (counts[k][context << 8 | b]++ == 0) kinds[k][context]++;
                seen[k][context]++;
                context = (context << 8 | b) & (contexts - 1);
            }
        }
    }

    /// <summary>Gets the number of preceding bytes that the model uses.</summary>
    public int Order { get; }

    /// <summary>Returns the mean of -log2 p over the bytes of a text.</summary>
    /// <param name="text">Text that the model has not counted.</param>
    public double BitsPerByte(ReadOnlySpan<byte> text)
    {
        if (text.IsEmpty) throw Require.Unfit(nameof(text), "text is empty", "at least 1 byte");
        double bits = 0;
        int history = 0;
        foreach (byte b in text)
        {
            bits -= Math.Log2(Probability(history, b));
            history = (history << 8 | b) & 0xffff;
        }
        return bits / text.Length;
    }

    internal double Probability(int history, byte next)
    {
        double p = 1.0 / 256;
        for (int k = 0; k <= Order; k++)
        {
            int context = history & ((1 << 8 * k) - 1);
            double n = seen[k][context], t = kinds[k][context];
            if (n > 0) p = (counts[k][context << 8 | next] + t * p) / (n + t);
        }
        return p;
    }
}
