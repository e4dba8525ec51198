using HybridArchitectures.Kernels.Cuda.GatedDelta;
using HybridArchitectures.Kernels.Cuda.StateSpace;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Computes the bytes that operators save for their gradients in addition to inputs and output. Operators along a sequence: per token of one row.
/// </summary>
static class SavedStateMemory
{
    // the number of tokens between two saved states of the selective scan, float32
    const double ScanTileInMemory = 32, ScanTileOnCuda = 16;

    const long MaxSavedBytes = 2L << 30;

    /// <summary>Returns the bytes of <see cref="Kernels.Operators.SelectiveScan"/> per token.</summary>
    public static double SelectiveScan(long channels, long states, bool cuda) => 4.0 * channels * states / (cuda ? ScanTileOnCuda : ScanTileInMemory);

    /// <summary>
    /// Counts the bytes of <see cref="Kernels.Operators.GatedDeltaRule"/> per token. The CUDA kernels save their queries and keys.
    /// </summary>
    /// <param name="heads">The number of heads of the values.</param>
    /// <param name="keyHeads">The number of heads of the keys.</param>
    /// <param name="keySize">The number of elements of a key.</param>
    /// <param name="valueSize">The number of elements of a value.</param>
    /// <param name="chunkSize">The requested chunk size.</param>
    /// <param name="elementSize">The number of bytes of an activation.</param>
    /// <param name="gpu">The limits of the GPU. Null means main memory.</param>
    public static double GatedDeltaRule(
        long heads, long keyHeads, long keySize, long valueSize, long chunkSize, int elementSize, GpuLimits? gpu)
    {
        if (HasKernels(GatedDeltaForm.HeadDecays, keySize, valueSize, elementSize, gpu))
            return 2.0 * keyHeads * keySize * elementSize;
        // float32, per head: five tables of a chunk, queries, keys and values in the layout of the products, the solved
        // systems, and a state at each chunk
        return sizeof(float) * heads * (5.0 * chunkSize + 6.0 * keySize + 3.0 * valueSize + (double)keySize * valueSize / chunkSize);
    }

    /// <summary>
    /// Counts the bytes of <see cref="Kernels.Operators.ChannelDeltaRule"/> per token, with those of its decays and strengths. The CUDA kernels save
    /// their queries and keys.
    /// </summary>
    /// <param name="heads">The number of heads.</param>
    /// <param name="keySize">The number of elements of a key.</param>
    /// <param name="valueSize">The number of elements of a value.</param>
    /// <param name="chunkSize">The requested chunk size.</param>
    /// <param name="elementSize">The number of bytes of an activation.</param>
    /// <param name="gpu">The limits of the GPU. Null means main memory.</param>
    public static double ChannelDeltaRule(long heads, long keySize, long valueSize, long chunkSize, int elementSize, GpuLimits? gpu)
    {
        // decays are a product with a softplus, whose input, output and result are float32
        if (HasKernels(GatedDeltaForm.ChannelDecays, keySize, valueSize, elementSize, gpu))
            return heads * (2.0 * keySize * elementSize + sizeof(float) * (3.0 * keySize + 4));
        // float32, per head: two tables of keys for every pair of a chunk and six of numbers, rates, queries, keys and values as the products take
        // them, what is solved for, and a state at each chunk
        return sizeof(float) * heads * (2.0 * chunkSize * keySize + 6.0 * chunkSize + 4 + 10.0 * keySize + 3.0 * valueSize
            + (double)keySize * valueSize / chunkSize);
    }

    /// <summary>Counts the bytes of <see cref="Kernels.Operators.LinearAttention"/> per token, with those of its decays.</summary>
    /// <param name="heads">The number of heads.</param>
    /// <param name="keySize">The number of elements of a key.</param>
    /// <param name="valueSize">The number of elements of a value.</param>
    /// <param name="chunkSize">The requested chunk size.</param>
    /// <param name="elementSize">The number of bytes of an activation.</param>
    /// <param name="gpu">The limits of the GPU. Null means main memory.</param>
    public static double LinearAttention(long heads, long keySize, long valueSize, long chunkSize, int elementSize, GpuLimits? gpu)
    {
        double decays = 3.0 * keySize;
        if (HasKernels(GatedDeltaForm.LinearAttention, keySize, valueSize, elementSize, gpu)) return sizeof(float) * heads * decays;
        // the table of a chunk with its logarithm, and a state at each chunk
        return sizeof(float) * heads * (decays + 2.0 * chunkSize * keySize + (double)keySize * valueSize / chunkSize);
    }

    static bool HasKernels(GatedDeltaForm form, long keySize, long valueSize, int elementSize, GpuLimits? gpu) => gpu is not null && elementSize == 2
        && GatedDeltaShape.For(keySize, valueSize, true, gpu.ComputeCapability, gpu.SharedMemory, form) is not null;

    /// <summary>
    /// Returns the bytes of <see cref="Kernels.Operators.StateSpaceDual"/>, whose chunks on CUDA are as long as the shared memory of the GPU permits.
    /// </summary>
    /// <param name="heads">The number of heads.</param>
    /// <param name="headSize">The number of channels of a head.</param>
    /// <param name="groups">The number of groups of heads.</param>
    /// <param name="states">The number of states of a channel.</param>
    /// <param name="chunkSize">The requested chunk size, which applies in main memory.</param>
    /// <param name="elementSize">The bytes of an activation.</param>
    /// <param name="tokens">The number of tokens of all rows. More than 2 GB of states are not saved on CUDA.</param>
    /// <param name="gpu">The limits of the GPU. Null means main memory.</param>
    public static double StateSpaceDual(
        long heads, long headSize, long groups, long states, long chunkSize, int elementSize, double tokens, GpuLimits? gpu)
    {
        double all = (double)heads * headSize * states;
        if (gpu is null) return 4 * all / Math.Clamp(chunkSize, 8, 64);
        bool splitFloat32 = elementSize != 2;
        long maxStates = StateSpaceDualShape.MaxStates(splitFloat32, gpu.SharedMemory), passes = (states + maxStates - 1) / maxStates;
        var shape = StateSpaceDualShape.For(
            headSize, Math.Min(states, maxStates), splitFloat32, heads / groups, false, gpu.ComputeCapability, gpu.SharedMemory);
        double kept = elementSize * all / shape.Chunk;
        // the time steps and, in two parts, their sums
        return passes * 3.0 * sizeof(float) * heads + (OperatorOptions.Current.SaveChunkStates && kept * tokens <= MaxSavedBytes * passes ? kept : 0);
    }
}
