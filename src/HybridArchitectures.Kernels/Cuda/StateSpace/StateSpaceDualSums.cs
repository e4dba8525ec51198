using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.StateSpace;

/// <summary>Contains what the forward kernels of the state-space dual compute for those that follow, and for the gradient.</summary>
/// <param name="Dt">The time steps after bias, softplus and limits, shape (batch, heads, chunks, chunk size), float32.</param>
/// <param name="DecaySums">The sums of dt A log2(e) from the start of each chunk, with the shape of <paramref name="Dt"/>.</param>
/// <param name="DecaySumsLow">What rounding removed from these sums.</param>
/// <param name="DocumentBegins">
/// Where in its chunk the document of a token begins, shape (batch, chunks, chunk size), int32 in memory declared as float32. Null without documents.
/// </param>
/// <param name="SegmentStates">The state before each segment of a row. Null if rows are not divided into segments.</param>
sealed record StateSpaceDualSums(Tensor? Dt, Tensor? DecaySums, Tensor? DecaySumsLow, Tensor? DocumentBegins, Tensor? SegmentStates)
    : ISavedTensors<StateSpaceDualSums>
{
    public StateSpaceDualSums Map(Func<Tensor?, Tensor?> replace) =>
        new(replace(Dt), replace(DecaySums), replace(DecaySumsLow), replace(DocumentBegins), replace(SegmentStates));
}
