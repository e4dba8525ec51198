using HybridArchitectures.Models;
using HybridArchitectures.Training.Distributed;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Tests.Running;

namespace HybridArchitectures.Training.Tests.Distributed;

public sealed class ShardTests
{
    [Theory]
    [InlineData(1, false)]
    [InlineData(2, false)]
    [InlineData(3, true)]
    [InlineData(8, false)]
    [InlineData(8, true)]
    public void Shards_cover_every_row_once_and_are_even(int ranks, bool muon)
    {
        using var model = Small.Model(experts: true);
        var parameters = model.Parameters;
        OptimizerOptions options = muon ? new MuonOptions() : new AdamWOptions();
        var shards = Shard.Divide(parameters, ranks, options.IsIndivisible);
        foreach (var parameter in parameters)
        {
            long next = 0;
            var own = shards.Where(shard => shard.Parameter.Name == parameter.Name).OrderBy(shard => shard.First).ToArray();
            foreach (var shard in own)
            {
                Assert.Equal(next, shard.First);
                next += shard.Rows;
            }
            Assert.Equal(parameter.Value.dim() == 0 ? 1 : parameter.Value.size(0), next);
            if (muon && parameter.Matrix is not null) Assert.Single(own);
        }
        var loads = Enumerable.Range(0, ranks).Select(rank => shards.Where(shard => shard.Owner == rank).Sum(Elements)).ToArray();
        long mean = parameters.Sum(item => item.Value.NumberOfElements) / ranks, widest = parameters.Max(item => item.Value.size(-1)) * 3;
        long indivisible = muon ? parameters.Where(item => item.Matrix is not null).Max(item => item.Value.NumberOfElements) : 0;
        Assert.All(loads, load => Assert.InRange(load, 1, mean + widest + indivisible));
    }

    static long Elements(Shard shard) =>
        shard.Parameter.Value.NumberOfElements / Math.Max(1, shard.Parameter.Value.dim() == 0 ? 1 : shard.Parameter.Value.size(0)) * shard.Rows;
}
