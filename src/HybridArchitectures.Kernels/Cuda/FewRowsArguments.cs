using System.Runtime.CompilerServices;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Contains the arguments of the kernel in <c>FewRowsLinear.cu</c>, which explains the fields and checks the size.</summary>
struct FewRowsArguments
{
    public nint X;
    public Addresses Weight;
    public Biases Bias;
    public Addresses Output;
    public nint Index;
    public Numbers Outputs, OutputRow, Tiles;
    public long Rows, Inputs, XRow, RowsPerInput, Groups;
    public nint Residual;
    public long ResidualRow;
    public nint Wide, Scale, Gate;
    public long GateRow;
    public CacheArguments Cache;
    public ConvolutionArguments Convolution;
    public float Epsilon;

    /// <summary>Contains an address per weight.</summary>
    [InlineArray(FewRowsLinearCuda.MaxWeights)]
    public struct Addresses
    {
        nint first;
    }

    /// <summary>Contains a bias per weight.</summary>
    [InlineArray(FewRowsLinearCuda.MaxWeights)]
    public struct Biases
    {
        CudaTyped first;
    }

    /// <summary>Contains a number per weight.</summary>
    [InlineArray(FewRowsLinearCuda.MaxWeights)]
    public struct Numbers
    {
        long first;
    }

    /// <summary>The cache that the product writes.</summary>
    public struct CacheArguments
    {
        public nint Cosine, Sine, Lengths, Keys, Values, Positions;
        public long Length, TableLength, Slots, Sinks, Window, Size, ValueSize;
        public long KeysRow, KeysSlot, KeysHead, ValuesRow, ValuesSlot, ValuesHead, PositionsRow;

        /// <summary>Returns the arguments for a cache and <paramref name="rows"/> new tokens of all its rows.</summary>
        public static CacheArguments From(CacheTarget cache, long rows) => new()
        {
            Cosine = CudaMemory.Address(cache.Table?.Cosine), Sine = CudaMemory.Address(cache.Table?.Sine),
            Lengths = CudaMemory.Address(cache.Lengths), Keys = CudaMemory.Address(cache.Keys), Values = CudaMemory.Address(cache.Values),
            Positions = CudaMemory.Address(cache.Positions), Length = rows / cache.Keys.size(0), TableLength = cache.Table?.Cosine.size(0) ?? 1,
            Slots = cache.Keys.size(1), Sinks = cache.Sinks, Window = cache.Window, Size = cache.Keys.size(3), ValueSize = cache.Values.size(3),
            KeysRow = cache.Keys.stride(0), KeysSlot = cache.Keys.stride(1), KeysHead = cache.Keys.stride(2), ValuesRow = cache.Values.stride(0),
            ValuesSlot = cache.Values.stride(1), ValuesHead = cache.Values.stride(2), PositionsRow = cache.Positions?.stride(0) ?? 0,
        };
    }

    /// <summary>The convolution that follows the product.</summary>
    public struct ConvolutionArguments
    {
        public nint State, Weight, Bias;
        public long First, Channels, Silu, Length;
        public nint Before, Inputs;

        /// <summary>Returns the arguments for a convolution.</summary>
        public static ConvolutionArguments From(FewRowsConvolutionStep step) => new()
        {
            State = CudaMemory.Address(step.State), Weight = CudaMemory.Address(step.Weight), Bias = CudaMemory.Address(step.Bias),
            First = step.First, Channels = step.Weight.size(0), Silu = step.IsSilu ? 1 : 0,
            Length = step.Length, Before = CudaMemory.Address(step.Before), Inputs = CudaMemory.Address(step.Inputs),
        };
    }
}
