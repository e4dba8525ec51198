using System.Collections;
using System.Runtime.CompilerServices;

namespace HybridArchitectures.Design;

/// <summary>
/// Represents an immutable list that compares by value: two lists are equal if their elements are equal in order. Create it with a collection
/// expression: <c>[a, b, .. rest]</c>.
/// </summary>
[CollectionBuilder(typeof(EquatableList), nameof(EquatableList.Create))]
public sealed class EquatableList<T> : IReadOnlyList<T>, IEquatable<EquatableList<T>>
{
    readonly T[] items;

    internal EquatableList(T[] items) => this.items = items;

    /// <summary>Gets the empty list.</summary>
    public static EquatableList<T> Empty { get; } = new([]);

    /// <summary>Gets the number of elements.</summary>
    public int Count => items.Length;

    /// <summary>Gets the element at an index, counted from 0.</summary>
    public T this[int index] => items[index];

    /// <summary>Returns the list with the element at an index, counted from 0, replaced.</summary>
    public EquatableList<T> With(int index, T item)
    {
        var copy = (T[])items.Clone();
        copy[index] = item;
        return new(copy);
    }

    /// <inheritdoc/>
    public bool Equals(EquatableList<T>? other) => other is not null && items.AsSpan().SequenceEqual(other.items, EqualityComparer<T>.Default);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as EquatableList<T>);

    /// <inheritdoc/>
    public override int GetHashCode()
    {
        var hash = new HashCode();
        foreach (var item in items) hash.Add(item);
        return hash.ToHashCode();
    }

    /// <inheritdoc/>
    public override string ToString() => $"[{string.Join(", ", items)}]";

    /// <inheritdoc/>
    public IEnumerator<T> GetEnumerator() => ((IEnumerable<T>)items).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => items.GetEnumerator();
}
