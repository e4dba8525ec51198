using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>
/// Computes the minimum time on a Hopper GPU for forward, and for forward and backward together. It is the maximum of bytes over memory bandwidth,
/// products over the matrix rate, and exponentials over their units. Each input counts as read once and each output as written once. What a kernel
/// saves for itself does not count.
/// </summary>
readonly record struct MinGpuTime(double ForwardMs, double? TotalMs)
{
    // a bfloat16 matrix product of random numbers, measured on such GPUs
    const double BFloat16PerSecond = 790e12;

    /// <summary>
    /// Gets or sets the bytes per second that a device-to-device copy reads and writes. It is measured before the cases. The default is the rate of
    /// one H200.
    /// </summary>
    public static double BytesPerSecond { get; set; } = 4.3e12;

    // float32 products at float32 accuracy: three TF32 products, at half bfloat16's rate, for each
    const double Float32ProductsPerSecond = BFloat16PerSecond / 2 / 3;

    // 132 multiprocessors at 1.8 GHz: 16 special functions and 128 float32 multiply-adds a clock each
    const double SpecialPerSecond = 132 * 1.8e9 * 16, Float32PerSecond = 132 * 1.8e9 * 128;

    // multiply-adds of an exponential computed without the special units
    const double PolynomialSize = 6;

    // the decays within a chunk cost one product of that number of tokens: smaller chunks would move more state
    const double Chunk = 64;

    static double Bytes(double count) => 1e3 * count / BytesPerSecond;

    static double Size(ScalarType type) => type == ScalarType.Float32 ? 4 : 2;

    static double Products(double count, ScalarType type) =>
        1e3 * count / (type == ScalarType.Float32 ? Float32ProductsPerSecond : BFloat16PerSecond);

    // exponentials may be shared out between special units and polynomials so that both end together; `activations` stay on the special units
    static double Exponentials(double exponentials, double activations, double multiplyAdds)
    {
        double special = (exponentials + activations) / SpecialPerSecond, arithmetic = multiplyAdds / Float32PerSecond;
        if (special <= arithmetic) return 1e3 * arithmetic;
        double moved = (special - arithmetic) / (1 / SpecialPerSecond + PolynomialSize / Float32PerSecond);
        return 1e3 * (special - Math.Min(moved, exponentials) / SpecialPerSecond);
    }

    /// <summary>
    /// Returns the limit of the state-space dual. Forward reads x, dt, B and C and writes y. Backward reads x and the gradient of y, and writes the
    /// gradients of all inputs. The state stays on the chip.
    /// </summary>
    public static MinGpuTime StateSpaceDual(double b, double l, double h, double p, double g, double n, ScalarType type)
    {
        double tokens = b * l, large = tokens * h * p * Size(type), small = tokens * (h + 2 * g * n) * Size(type);
        double forward = Math.Max(Bytes(2 * large + small), Products(tokens * (h * (4 * p * n + p * Chunk) + g * n * Chunk), type));
        // gradients of x, b, c and the state's two ends are five products with the state, and three within the chunk
        double backward = Math.Max(Bytes(3 * large + 2 * small), Products(tokens * h * (10 * p * n + 3 * p * Chunk), type));
        return new(forward, forward + backward);
    }

    /// <summary>
    /// Returns the limit of the gated delta rule. Forward reads queries, keys and values and writes the output. Backward reads them and the gradient
    /// of the output, and writes their gradients. There are three products with the state forward and six backward. Within a chunk, there are half
    /// of two products of keys and of two of values forward, and half of four of each backward.
    /// </summary>
    public static MinGpuTime GatedDelta(double b, double l, double g, double h, double d, ScalarType type)
    {
        double tokens = b * l, values = tokens * h * d * Size(type), keys = 2 * tokens * g * d * Size(type);
        double forward = Math.Max(Bytes(2 * values + keys), Products(tokens * (h * (6 * d * d + 2 * d * Chunk) + 2 * g * d * Chunk), type));
        double backward = Math.Max(Bytes(3 * values + 2 * keys), Products(tokens * h * (12 * d * d + 8 * d * Chunk), type));
        return new(forward, forward + backward);
    }

    /// <summary>
    /// Returns the limit of the gated delta rule with a decay per key channel and as many keys as values. Its products are those of
    /// <see cref="GatedDelta"/>. Decays and their gradients, float32, are read and written too.
    /// </summary>
    public static MinGpuTime ChannelDelta(double b, double l, double h, double d, ScalarType type)
    {
        double tokens = b * l, elements = tokens * h * d, activations = elements * Size(type), decays = 4 * elements;
        double forward = Math.Max(Bytes(4 * activations + decays), Products(tokens * h * (6 * d * d + 4 * d * Chunk), type));
        double backward = Math.Max(Bytes(7 * activations + 2 * decays), Products(tokens * h * (12 * d * d + 8 * d * Chunk), type));
        return new(forward, forward + backward);
    }

    /// <summary>
    /// Returns the limit of linear attention with a decay per key channel. Forward, there are two products with the state, and within a chunk half of
    /// a product of keys and half of one of values. Backward, there are four products with the state, and half of two of each.
    /// </summary>
    public static MinGpuTime LinearAttention(double b, double l, double h, double d, ScalarType type)
    {
        double tokens = b * l, elements = tokens * h * d, activations = elements * Size(type), decays = 4 * elements;
        double forward = Math.Max(Bytes(4 * activations + decays), Products(tokens * h * (4 * d * d + 2 * d * Chunk), type));
        double backward = Math.Max(Bytes(7 * activations + 2 * decays), Products(tokens * h * (8 * d * d + 4 * d * Chunk), type));
        return new(forward, forward + backward);
    }

    /// <summary>
    /// Returns the limit of attention over the visible pairs of query and key in all rows: an exponential for each pair and head, two products
    /// forward and five backward.
    /// </summary>
    public static MinGpuTime Attention(double pairs, double tokens, double heads, double keyHeads, double size, double valueSize, ScalarType type)
    {
        double queries = tokens * heads * (size + valueSize) * Size(type), keys = tokens * keyHeads * (size + valueSize) * Size(type),
            exponentials = Exponentials(pairs * heads, 0, 0);
        double forward = Math.Max(Math.Max(Bytes(queries + keys), exponentials), Products(2 * pairs * heads * (size + valueSize), type));
        double backward = Math.Max(Math.Max(Bytes(2 * queries + 2 * keys), exponentials),
            Products(2 * pairs * heads * (3 * size + 2 * valueSize), type));
        return new(forward, forward + backward);
    }

    /// <summary>
    /// Returns the limit of a decoding step, which reads the keys and values of each row once for each key head, reads queries and writes outputs.
    /// </summary>
    public static MinGpuTime Decode(double rows, double keys, double queryHeads, double keyHeads, double size, ScalarType type) =>
        new(Bytes(2 * rows * (keys * keyHeads + queryHeads) * size * Size(type)), null);

    /// <summary>
    /// Returns the limit of the selective scan. Forward reads x, dt and z and writes y. It needs one exponential per state, and two each for softplus
    /// and SiLU. Backward computes the exponentials of the states again.
    /// </summary>
    public static MinGpuTime SelectiveScan(double b, double l, double d, double n, ScalarType type)
    {
        double elements = b * l * d, small = 2 * b * l * n * Size(type);
        double forward = Math.Max(Bytes(4 * elements * Size(type) + small), Exponentials(elements * n, 4 * elements, 4 * elements * n));
        double backward = Math.Max(Bytes(7 * elements * Size(type) + 2 * small), Exponentials(elements * n, 4 * elements, 14 * elements * n));
        return new(forward, forward + backward);
    }

    /// <summary>Returns the limit of a pass over memory, from the numbers of tensors that are read and written forward and backward.</summary>
    public static MinGpuTime Pass(double elements, double forward, double backward, ScalarType type) =>
        new(Bytes(elements * forward * Size(type)), Bytes(elements * (forward + backward) * Size(type)));

    /// <summary>Returns the limit of linear cross entropy: one matrix product forward and two backward.</summary>
    public static MinGpuTime LinearCrossEntropy(double tokens, double d, double v, ScalarType type) =>
        new(Products(2 * tokens * d * v, type), Products(6 * tokens * d * v, type));

    /// <summary>Returns the limit of a state update, which reads and writes the float32 state.</summary>
    public static MinGpuTime StateUpdate(double b, double h, double p, double n, double stateSize = 4) =>
        new(Bytes(2 * stateSize * b * h * p * n), null);
}
