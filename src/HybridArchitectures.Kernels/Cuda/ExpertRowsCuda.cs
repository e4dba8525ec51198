using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Spreads and combines the weighted rows of visits to experts on a GPU, with the kernels in <c>ExpertRows.cu</c>.</summary>
static class ExpertRowsCuda
{
    const long RowsPerBlock = 8, MaxRows = RowsPerBlock * int.MaxValue, Piece = 16;

    struct Arguments
    {
        public nint Values, Weights, Other, Result, Products, Places;
        public long Rows, Choices, Width;
    }

    /// <summary>Returns whether the kernels take rows (rows, width) with weights of visits.</summary>
    public static bool Serves(Tensor values, Tensor weights) =>
        (values.device_type == DeviceType.CUDA || CudaRuntime.Emulated) && values.dtype is ScalarType.BFloat16 or ScalarType.Float32
        && weights.dtype == values.dtype && weights.NumberOfElements is > 0 and <= MaxRows && values.size(1) * values.ElementSize % Piece == 0;

    /// <summary>Returns the row of a token for each of its visits, times the weight of the visit: (visits, width).</summary>
    /// <param name="order">The visit at each place, (visits) int64.</param>
    /// <param name="choices">The number of visits of a token.</param>
    /// <param name="tokens">(tokens, width).</param>
    /// <param name="weights">(tokens, choices).</param>
    public static Tensor Spread(Tensor order, long choices, Tensor tokens, Tensor weights)
    {
        var result = CudaMemory.New(tokens, tokens.dtype, order.size(0), tokens.size(1));
        Run("spread_rows", order, choices, tokens, weights, null, result, null);
        return result;
    }

    /// <summary>
    /// Returns the sum of the rows of the visits of each token, each times its weight, (tokens, width), and the products of the rows of the visits
    /// with the rows of their tokens, (tokens, choices).
    /// </summary>
    /// <param name="inverse">The place of each visit, (visits) int64.</param>
    /// <param name="choices">The number of visits of a token.</param>
    /// <param name="visits">(visits, width).</param>
    /// <param name="weights">(tokens, choices).</param>
    /// <param name="other">The rows of the tokens, (tokens, width), or null for no products.</param>
    /// <param name="sums">Whether the sums are needed.</param>
    public static (Tensor? Sums, Tensor? Products) Combine(
        Tensor inverse, long choices, Tensor visits, Tensor weights, Tensor? other, bool sums)
    {
        long tokens = weights.NumberOfElements / choices;
        var result = sums ? CudaMemory.New(visits, visits.dtype, tokens, visits.size(1)) : null;
        var products = other is null ? null : CudaMemory.New(visits, visits.dtype, tokens, choices);
        Run("combine_rows", inverse, choices, visits, weights, other, result, products);
        return (result, products);
    }

    static void Run(string kernel, Tensor places, long choices, Tensor values, Tensor weights, Tensor? other, Tensor? result, Tensor? products)
    {
        using var scope = NewDisposeScope();
        (values, weights, other) = (Whole(values), weights.contiguous(), other is null ? null : Whole(other.to(values.dtype)));
        long count = kernel == "spread_rows" ? places.size(0) : weights.NumberOfElements / choices;
        var arguments = new Arguments
        {
            Values = CudaMemory.Address(values), Weights = CudaMemory.Address(weights), Other = CudaMemory.Address(other),
            Result = CudaMemory.Address(result), Products = CudaMemory.Address(products), Places = CudaMemory.Address(places),
            Rows = count, Choices = choices, Width = values.size(1),
        };
        CudaRuntime.DeviceOf(values).Launch("ExpertRows.cu", $"{kernel}_{(values.dtype == ScalarType.BFloat16 ? "bfloat16" : "float32")}",
            ((count + RowsPerBlock - 1) / RowsPerBlock, 1, 1), 256, 0, arguments);
        GC.KeepAlive((values, weights, other, places, result, products));
    }

    // rows are read in pieces of 16 bytes
    static Tensor Whole(Tensor rows)
    {
        rows = rows.contiguous();
        return CudaMemory.Address(rows) % Piece == 0 ? rows : rows.clone();
    }
}
