using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Conversion;

/// <summary>Represents a part of a tensor of a mixer that has one function, divided into heads.</summary>
/// <param name="Kind">The function.</param>
/// <param name="Role">What the slot contains.</param>
/// <param name="Tensor">The name of the tensor within the mixer.</param>
/// <param name="Part">The name of the part; empty for a whole tensor.</param>
/// <param name="View">A view of the part in the memory of the tensor.</param>
/// <param name="Heads">The number of heads.</param>
/// <param name="Size">The number of channels of a head.</param>
/// <param name="IsFlat">Whether the channels have no heads: any division into heads fits.</param>
sealed record MixerSlot(SlotKind Kind, SlotRole Role, string Tensor, string Part, Tensor View, int Heads, int Size, bool IsFlat)
{
    /// <summary>Returns the values, (heads, size, ...).</summary>
    public Tensor Read() => View.reshape([Heads, Size, .. Rest]);

    /// <summary>Writes values of any shape with the same elements in the same order.</summary>
    public void Write(Tensor values) => View.copy_(values.reshape(View.shape));

    // inputs of a projection, or taps
    long[] Rest => View.NumberOfElements == (long)Heads * Size ? [] : [View.NumberOfElements / ((long)Heads * Size)];

    /// <summary>
    /// Returns the values of this slot in the form of another one: the same, each head repeated, or means over neighbouring heads. Outputs of
    /// repeated heads are divided by their number, and those of joined heads are added, so that the sum over the heads stays the same. Returns null
    /// if the sizes do not correspond.
    /// </summary>
    public (Tensor Values, WeightOrigin Origin, string How)? FitTo(MixerSlot target)
    {
        if (!Rest.SequenceEqual(target.Rest)) return null;
        var (mine, wanted) = (Heads, target.Heads);
        if (Size != target.Size)
        {
            long all = (long)Heads * Size, needed = (long)target.Heads * target.Size;
            if (target.IsFlat && needed % Size == 0) wanted = (int)(needed / Size);
            else if (IsFlat && all % target.Size == 0) mine = (int)(all / target.Size);
            else return null;
        }
        int size = Heads * Size / mine;
        var values = Read().reshape([mine, size, .. Rest]);
        if (mine == wanted) return (values, WeightOrigin.Kept, "");
        if (wanted % mine == 0)
        {
            int times = wanted / mine;
            var repeated = values.repeat_interleave(times, 0);
            return (Kind == SlotKind.Output ? repeated.div(Scalars.From(times)) : repeated, WeightOrigin.Derived, $", each head {times} times");
        }
        if (mine % wanted != 0) return null;
        var groups = values.reshape([wanted, mine / wanted, size, .. Rest]);
        return (Kind == SlotKind.Output ? groups.sum(1) : groups.mean([1L]), WeightOrigin.Derived,
            $", {(Kind == SlotKind.Output ? "sum" : "mean")} of {mine / wanted} heads");
    }
}
