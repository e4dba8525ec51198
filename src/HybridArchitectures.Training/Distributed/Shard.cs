using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Distributed;

/// <summary>Represents the rows of a parameter that one rank updates.</summary>
/// <param name="Parameter">The parameter.</param>
/// <param name="First">The first row: an index of the first dimension.</param>
/// <param name="Rows">The number of rows.</param>
/// <param name="Owner">The rank.</param>
sealed record Shard(ModelParameter Parameter, long First, long Rows, int Owner)
{
    /// <summary>Gets whether the shard is a complete parameter.</summary>
    public bool IsWhole { get; } = Rows == RowsOf(Parameter);

    /// <summary>Returns the rows of the shard of a tensor with the shape of the parameter. They share its memory.</summary>
    public Tensor PartOf(Tensor whole) => IsWhole ? whole : whole.narrow(0, First, Rows);

    static long RowsOf(ModelParameter parameter) => parameter.Value.dim() == 0 ? 1 : parameter.Value.size(0);

    /// <summary>
    /// Divides parameters over ranks so that each has about the same number of elements. The result depends only on the arguments.
    /// </summary>
    /// <param name="parameters">The parameters.</param>
    /// <param name="ranks">The number of ranks.</param>
    /// <param name="isIndivisible">Returns whether a parameter must stay on one rank.</param>
    public static IReadOnlyList<Shard> Divide(IReadOnlyList<ModelParameter> parameters, int ranks, Func<ModelParameter, bool> isIndivisible)
    {
        var loads = new long[ranks];
        var shards = new List<Shard>();
        foreach (var parameter in parameters.Where(isIndivisible).OrderByDescending(item => item.Value.NumberOfElements))
        {
            int owner = Array.IndexOf(loads, loads.Min());
            loads[owner] += parameter.Value.NumberOfElements;
            shards.Add(new(parameter, 0, RowsOf(parameter), owner));
        }
        var rest = parameters.Where(item => !isIndivisible(item)).ToArray();
        Fill(rest, (loads.Sum() + rest.Sum(item => item.Value.NumberOfElements) + ranks - 1) / ranks, loads, shards);
        return shards;
    }

    // one rank after another up to the mean, in rows
    static void Fill(ModelParameter[] parameters, long mean, long[] loads, List<Shard> shards)
    {
        int owner = 0;
        foreach (var parameter in parameters)
        {
            long rows = RowsOf(parameter), size = parameter.Value.NumberOfElements / Math.Max(1, rows);
            for (long first = 0; first < rows;)
            {
                while (owner < loads.Length - 1 && loads[owner] >= mean) owner++;
                long fits = (mean - loads[owner] + size - 1) / Math.Max(1, size);
                long count = owner == loads.Length - 1 ? rows - first : Math.Clamp(fits, 1, rows - first);
                shards.Add(new(parameter, first, count, owner));
                loads[owner] += count * size;
                first += count;
            }
        }
    }
}
