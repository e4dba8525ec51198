using HybridArchitectures.Modules;

namespace HybridArchitectures.Models;

/// <summary>Contains the modules of a stack in order, with the names 0, 1, 2, ... in a checkpoint.</summary>
sealed class ModuleSequence<T> : HybridModule where T : HybridModule
{
    public ModuleSequence(IEnumerable<T> items) : base(typeof(T).Name + "s") =>
        Items = [.. items.Select((item, index) => Add(index.ToString(System.Globalization.CultureInfo.InvariantCulture), item))];

    public IReadOnlyList<T> Items { get; }
}
