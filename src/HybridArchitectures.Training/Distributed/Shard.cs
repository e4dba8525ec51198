using System.Globalization;
using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Distributed;

/// <summary>Represents consecutive elements of a parameter, in row-major order, that one rank updates.</summary>
/// <param name="Parameter">The parameter.</param>
/// <param name="First">The first element.</param>
/// <param name="Count">The number of elements.</param>
/// <param name="Owner">The rank.</param>
sealed record Shard(ModelParameter Parameter, long First, long Count, int Owner)
{
    /// <summary>The number of elements of which parts of parameters are multiples, so that kernels can load several at once.</summary>
    public const long Alignment = 64;

    /// <summary>Gets whether the shard is a complete parameter.</summary>
    public bool IsWhole { get; } = Count == Parameter.Value.NumberOfElements;

    /// <summary>Gets the name of the state of the shard: that of the parameter, with the range of elements if it is a part.</summary>
    public string Name => IsWhole ? Parameter.Name
        : string.Create(CultureInfo.InvariantCulture, $"{Parameter.Name}[{First}..{First + Count}]");

    /// <summary>Returns the elements of a contiguous tensor with the shape of the parameter. They share its memory.</summary>
    public Tensor PartOf(Tensor whole) => IsWhole ? whole : whole.view(-1).narrow(0, First, Count);

    /// <summary>
    /// Divides parameters over ranks so that each has about the same number of elements. The result depends only on the arguments.
    /// </summary>
    /// <param name="parameters">The parameters.</param>
    /// <param name="ranks">The number of ranks.</param>
    /// <param name="isIndivisible">Returns whether a parameter must stay on one rank.</param>
    public static IReadOnlyList<Shard> Divide(IReadOnlyList<ModelParameter> parameters, int ranks, Func<ModelParameter, bool> isIndivisible)
    {
        var loads = new long[ranks];
        var shards = Assign(parameters.Where(isIndivisible), loads);
        var rest = parameters.Where(item => !isIndivisible(item)).ToArray();
        Fill(rest, (loads.Sum() + rest.Sum(item => item.Value.NumberOfElements) + ranks - 1) / ranks, loads, shards);
        return shards;
    }

    /// <summary>Assigns complete parameters to ranks, the largest first, each to the rank with the fewest elements.</summary>
    /// <param name="parameters">The parameters.</param>
    /// <param name="loads">The elements of each rank, to which those of the parameters are added.</param>
    public static List<Shard> Assign(IEnumerable<ModelParameter> parameters, long[] loads)
    {
        var shards = new List<Shard>();
        foreach (var parameter in parameters.OrderByDescending(item => item.Value.NumberOfElements))
        {
            int owner = Array.IndexOf(loads, loads.Min());
            loads[owner] += parameter.Value.NumberOfElements;
            shards.Add(new(parameter, 0, parameter.Value.NumberOfElements, owner));
        }
        return shards;
    }

    // one rank after another up to the mean
    static void Fill(ModelParameter[] parameters, long mean, long[] loads, List<Shard> shards)
    {
        int owner = 0;
        foreach (var parameter in parameters)
        {
            long total = parameter.Value.NumberOfElements;
            for (long first = 0; first < total;)
            {
                while (owner < loads.Length - 1 && loads[owner] >= mean) owner++;
                long fits = Aligned(Math.Max(1, mean - loads[owner])), left = total - first;
                long count = owner == loads.Length - 1 ? left : Math.Min(fits, left);
                shards.Add(new(parameter, first, count, owner));
                loads[owner] += count;
                first += count;
            }
        }
    }

    /// <summary>Returns the next multiple of <see cref="Alignment"/>.</summary>
    public static long Aligned(long count) => (count + Alignment - 1) / Alignment * Alignment;
}
