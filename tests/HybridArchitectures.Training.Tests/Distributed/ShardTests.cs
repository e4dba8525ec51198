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
    public void Shards_cover_every_element_once_and_are_even(int ranks, bool muon)
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
                next += shard.Count;
            }
            Assert.Equal(parameter.Value.NumberOfElements, next);
            // kernels load several elements at once
            Assert.All(own, shard => Assert.Equal(0, shard.First % Shard.Alignment));
            if (muon && parameter.Matrix is not null) Assert.Single(own);
        }
        var loads = Enumerable.Range(0, ranks).Select(rank => shards.Where(shard => shard.Owner == rank).Sum(shard => shard.Count)).ToArray();
        long mean = parameters.Sum(item => item.Value.NumberOfElements) / ranks;
        long indivisible = muon ? parameters.Where(item => item.Matrix is not null).Max(item => item.Value.NumberOfElements) : 0;
        Assert.All(loads, load => Assert.InRange(load, 1, mean + Shard.Alignment + indivisible));
    }
}
