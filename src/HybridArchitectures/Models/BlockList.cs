using HybridArchitectures.Modules;

namespace HybridArchitectures.Models;

/// <summary>The blocks of a stack, named 0, 1, 2, ... in a checkpoint.</summary>
sealed class BlockList : HybridModule
{
    public BlockList(IEnumerable<Block> blocks) : base(nameof(BlockList)) =>
        Items = [.. blocks.Select((block, index) => Add(index.ToString(System.Globalization.CultureInfo.InvariantCulture), block))];

    public IReadOnlyList<Block> Items { get; }
}
